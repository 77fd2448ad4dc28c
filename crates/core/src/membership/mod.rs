//! Who is a member and what each may do: a pure function of the founder and the set of grants.
//!
//! Invariants:
//! - Of one granter's grants the [`GRANTS_PER_GRANTER_MAX`] with the lowest hashes are kept,
//!   whatever order they come in. The others are as if they had never been made.
//! - A kept grant is effective if its granter is the founder or was made an admin by an effective
//!   grant. Which grants are effective does not depend on the order in which they came.
//! - Only effective grants are passed on, in an order in which none has to wait for another.

mod grant;

use std::collections::BTreeMap;

pub use grant::{Grant, GrantDecodeError, Role, SignedGrant};

use crate::id::{PeerId, SwarmId};
use crate::limits::{GRANTS_PER_GRANTER_MAX, PENDING_GRANTERS_MAX};
use crate::sign::BadSignature;

/// Why a grant is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// The granter did not sign it.
    #[error("the grant to {member:?} is refused: {source}")]
    BadSignature {
        /// Whom it is for.
        member: PeerId,
        /// What is wrong.
        source: BadSignature,
    },
    /// It is for another swarm.
    #[error("the grant is for swarm {theirs}, and this is {ours}")]
    OtherSwarm {
        /// This swarm.
        ours: SwarmId,
        /// The swarm it is for.
        theirs: SwarmId,
    },
    /// The name or the size is beyond the limits.
    #[error("the grant is malformed: {0}")]
    Malformed(#[from] GrantDecodeError),
}

/// A member, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The member.
    pub peer: PeerId,
    /// What it may do.
    pub role: Role,
    /// Its name; may be empty.
    pub name: String,
}

/// Who is a member: the founder, who is an admin, and whom effective grants name.
#[derive(Debug, Clone)]
pub struct Membership {
    swarm: SwarmId,
    founder: PeerId,
    /// The grants that are kept, by granter and by the hash of the grant without its signature: a
    /// granter can make many signatures of one grant, which still is one.
    kept: BTreeMap<PeerId, BTreeMap<[u8; 32], SignedGrant>>,
    /// In the order in which they became effective: a granter's own grant comes before its grants.
    effective: Vec<SignedGrant>,
    /// For each member its highest role, and the lowest name granted with it.
    members: BTreeMap<PeerId, (Role, String)>,
}

impl Membership {
    /// Begins with the founder, whose key is the root of all trust in the swarm.
    pub fn new(swarm: SwarmId, founder: PeerId) -> Self {
        Self {
            swarm,
            founder,
            kept: BTreeMap::new(),
            effective: Vec::new(),
            members: BTreeMap::from([(founder, (Role::Admin, String::new()))]),
        }
    }

    /// Begins with grants that were kept before, in any order. None of them is dropped because it
    /// comes before the one that makes its granter an admin. Those that are not good are left out.
    pub fn restore(
        swarm: SwarmId,
        founder: PeerId,
        grants: impl IntoIterator<Item = SignedGrant>,
    ) -> Self {
        let mut membership = Self::new(swarm, founder);
        for grant in grants {
            if membership.is_good(&grant) && membership.would_keep(&grant.grant) {
                membership.insert(grant);
            }
        }
        membership.derive();
        membership
    }

    /// Takes a grant, which may come from anyone. True if it is new and kept, effective or not.
    ///
    /// # Errors
    ///
    /// Says why the grant is not good; nothing changes then.
    pub fn add(&mut self, grant: SignedGrant) -> Result<bool, GrantError> {
        self.check_form(&grant)?;
        if !self.would_keep(&grant.grant) {
            return Ok(false);
        }
        grant
            .verify()
            .map_err(|source| GrantError::BadSignature { member: grant.grant.member, source })?;
        let (granter, digest) = (grant.grant.granter, digest_of(&grant.grant));
        self.keep(grant);
        Ok(self.kept.get(&granter).is_some_and(|kept| kept.contains_key(&digest)))
    }

    fn check_form(&self, grant: &SignedGrant) -> Result<(), GrantError> {
        if grant.grant.swarm != self.swarm {
            return Err(GrantError::OtherSwarm { ours: self.swarm, theirs: grant.grant.swarm });
        }
        // Built by hand it may be what no peer could decode.
        SignedGrant::decode(&grant.encode())?;
        Ok(())
    }

    fn is_good(&self, grant: &SignedGrant) -> bool {
        self.check_form(grant).is_ok() && grant.verify().is_ok()
    }

    /// Whether the grant is new, and not one too many of its granter.
    fn would_keep(&self, grant: &Grant) -> bool {
        let Some(kept) = self.kept.get(&grant.granter) else { return true };
        let digest = digest_of(grant);
        let has_room = kept.len() < GRANTS_PER_GRANTER_MAX
            || kept.keys().next_back().is_some_and(|last| digest < *last);
        has_room && !kept.contains_key(&digest)
    }

    /// Takes in a good grant that [`Self::would_keep`].
    fn keep(&mut self, grant: SignedGrant) {
        let granter = grant.grant.granter;
        let dropped = self.insert(grant.clone());
        if !self.is_admin(&granter) {
            return self.drop_pending();
        }
        match dropped {
            // It may have made somebody an admin.
            Some(dropped) if dropped.grant.role == Role::Admin => return self.derive(),
            Some(dropped) => self.withdraw(&dropped.grant),
            None => {}
        }
        self.take_effect(vec![grant]);
    }

    /// Puts a grant among those that are kept. Returns the one that is one too many of its granter.
    fn insert(&mut self, grant: SignedGrant) -> Option<SignedGrant> {
        let kept = self.kept.entry(grant.grant.granter).or_default();
        kept.insert(digest_of(&grant.grant), grant);
        if kept.len() <= GRANTS_PER_GRANTER_MAX {
            return None;
        }
        kept.pop_last().map(|(_, dropped)| dropped)
    }

    /// Takes back an effective grant that made nobody an admin.
    fn withdraw(&mut self, grant: &Grant) {
        self.effective.retain(|signed| signed.grant != *grant);
        if grant.member == self.founder {
            return;
        }
        self.members.remove(&grant.member);
        let others = self.effective.iter().filter(|signed| signed.grant.member == grant.member);
        let others: Vec<(Role, String)> =
            others.map(|signed| (signed.grant.role, signed.grant.name.clone())).collect();
        for (role, name) in others {
            self.raise(grant.member, role, &name);
        }
    }

    /// Makes grants effective, and all that waited for them.
    fn take_effect(&mut self, mut ready: Vec<SignedGrant>) {
        while let Some(signed) = ready.pop() {
            let Grant { member, role, name, .. } = &signed.grant;
            let was_admin = self.is_admin(member);
            self.raise(*member, *role, name);
            if !was_admin && self.is_admin(member) {
                let waited = self.kept.get(member).into_iter().flat_map(BTreeMap::values);
                ready.extend(waited.cloned());
            }
            self.effective.push(signed);
        }
    }

    /// Derives what is effective from all grants that are kept.
    fn derive(&mut self) {
        self.effective.clear();
        self.members = BTreeMap::from([(self.founder, (Role::Admin, String::new()))]);
        let begin = self.kept.get(&self.founder).into_iter().flat_map(BTreeMap::values);
        self.take_effect(begin.cloned().collect());
        self.drop_pending();
    }

    /// Bounds what waits for its granter to be an admin: the granters with the lowest keys stay.
    fn drop_pending(&mut self) {
        let pending: Vec<PeerId> =
            self.kept.keys().filter(|granter| !self.is_admin(granter)).copied().collect();
        for granter in pending.iter().skip(PENDING_GRANTERS_MAX) {
            self.kept.remove(granter);
        }
    }

    /// Whether one more grant by this granter would be kept for certain.
    pub fn has_room(&self, granter: &PeerId) -> bool {
        self.kept.get(granter).is_none_or(|kept| kept.len() < GRANTS_PER_GRANTER_MAX)
    }

    /// Returns the grants that make the peer a member: its own, that of its granter, and so on down
    /// from the founder. Empty for the founder and for strangers.
    pub fn grants_for(&self, peer: &PeerId) -> Vec<SignedGrant> {
        let mut chain = Vec::new();
        let mut member = *peer;
        // In the order in which they became effective, each is above those that it needs.
        for signed in self.effective.iter().rev() {
            let Grant { member: of, role, granter, .. } = &signed.grant;
            let is_needed = *of == member && (chain.is_empty() || *role == Role::Admin);
            if is_needed && self.members.get(of).is_some_and(|(highest, _)| highest == role) {
                chain.push(signed.clone());
                member = *granter;
            }
        }
        chain.reverse();
        chain
    }

    /// The highest role wins; of the names granted with it the lowest one that is not empty.
    fn raise(&mut self, member: PeerId, role: Role, name: &str) {
        let entry = self.members.entry(member).or_insert((role, String::new()));
        let better_name = !name.is_empty() && (entry.1.is_empty() || name < entry.1.as_str());
        if role > entry.0 {
            *entry = (role, name.to_owned());
        } else if role == entry.0 && better_name {
            name.clone_into(&mut entry.1);
        }
    }

    fn is_admin(&self, peer: &PeerId) -> bool {
        self.role(peer) == Some(Role::Admin)
    }

    /// Returns what the peer may do; nothing where it is not a member.
    pub fn role(&self, peer: &PeerId) -> Option<Role> {
        self.members.get(peer).map(|(role, _)| *role)
    }

    /// Whether the peer's commits count.
    pub fn may_write(&self, peer: &PeerId) -> bool {
        self.role(peer) >= Some(Role::Writer)
    }

    /// Whether the peer may pull.
    pub fn is_member(&self, peer: &PeerId) -> bool {
        self.members.contains_key(peer)
    }

    /// The swarm.
    pub fn swarm(&self) -> SwarmId {
        self.swarm
    }

    /// The founder.
    pub fn founder(&self) -> PeerId {
        self.founder
    }

    /// Returns the members, sorted by key.
    pub fn members(&self) -> Vec<Member> {
        let member = |(peer, (role, name)): (&PeerId, &(Role, String))| Member {
            peer: *peer,
            role: *role,
            name: name.clone(),
        };
        self.members.iter().map(member).collect()
    }

    /// Returns the effective grants, each after the one that made its granter an admin.
    pub fn grants(&self) -> &[SignedGrant] {
        &self.effective
    }

    /// Returns a hash over the set of effective grants: equal where peers know the same ones.
    pub fn digest(&self) -> [u8; 32] {
        let mut bodies: Vec<_> = self.effective.iter().map(|signed| signed.grant.body()).collect();
        bodies.sort_unstable();
        let mut hasher = blake3::Hasher::new_derive_key("doltswarm v1 grants digest");
        hasher.update(self.swarm.as_bytes());
        hasher.update(self.founder.as_bytes());
        for body in bodies {
            // A body names its own length, so no two sets run together to the same bytes.
            hasher.update(&body);
        }
        *hasher.finalize().as_bytes()
    }
}

/// The hash by which a granter's grants are chosen.
fn digest_of(grant: &Grant) -> [u8; 32] {
    *blake3::hash(&grant.body()).as_bytes()
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    use super::*;
    use crate::sign::peer_id;

    const SWARM: SwarmId = SwarmId::from_bytes([5; 32]);

    fn key(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    fn id(n: u8) -> PeerId {
        peer_id(&key(n))
    }

    fn grant(granter: u8, member: u8, role: Role) -> SignedGrant {
        let name = format!("m{member}");
        let grant = Grant { swarm: SWARM, member: id(member), role, name, granter: id(granter) };
        grant.sign(&key(granter)).unwrap()
    }

    #[test]
    fn the_founder_is_admin_and_strangers_are_nobody() {
        let mut membership = Membership::new(SWARM, id(0));
        assert!(membership.may_write(&id(0)) && !membership.is_member(&id(1)));
        assert_eq!(membership.add(grant(0, 1, Role::Reader)), Ok(true));
        assert_eq!(membership.add(grant(0, 1, Role::Reader)), Ok(false));
        assert!(membership.is_member(&id(1)) && !membership.may_write(&id(1)));
        // A reader grants nothing, and neither does a stranger to itself.
        assert_eq!(membership.add(grant(1, 2, Role::Writer)), Ok(true));
        assert_eq!(membership.add(grant(9, 9, Role::Admin)), Ok(true));
        assert_eq!(membership.role(&id(2)), None);
        assert_eq!(membership.role(&id(9)), None);
        assert_eq!(membership.grants().len(), 1);
        // The reader is made an admin: what it granted before counts now.
        assert_eq!(membership.add(grant(0, 1, Role::Admin)), Ok(true));
        assert_eq!(membership.role(&id(2)), Some(Role::Writer));
        assert_eq!(membership.members().len(), 3);
    }

    #[test]
    fn bad_grants_are_refused() {
        let mut membership = Membership::new(SWARM, id(0));
        let mut forged = grant(1, 1, Role::Admin);
        forged.grant.granter = id(0);
        assert!(matches!(membership.add(forged), Err(GrantError::BadSignature { .. })));
        let other = Grant { swarm: SwarmId::from_bytes([6; 32]), ..grant(0, 1, Role::Admin).grant };
        let other = membership.add(other.sign(&key(0)).unwrap());
        assert!(matches!(other, Err(GrantError::OtherSwarm { .. })));
        assert_eq!(membership.digest(), Membership::new(SWARM, id(0)).digest());
    }

    /// Grants by one granter to many members, without names.
    fn many(granter: u8, count: u32) -> Vec<SignedGrant> {
        let member = |n: u32| {
            let mut bytes = [granter; 32];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            PeerId::from_bytes(bytes)
        };
        let one = |n| Grant { member: member(n), ..grant(granter, 9, Role::Writer).grant };
        // Thousands of signatures would take long, and are no matter here.
        (0..count).map(|n| SignedGrant { grant: one(n), signature: [0; 64] }).collect()
    }

    /// Puts the grants in an order that only the seed decides.
    fn shuffled(mut grants: Vec<SignedGrant>, seed: u64) -> Vec<SignedGrant> {
        grants.sort_by_cached_key(|grant| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&seed.to_be_bytes()).update(&grant.encode());
            *hasher.finalize().as_bytes()
        });
        grants
    }

    fn membership_of(grants: Vec<SignedGrant>) -> Membership {
        let mut membership = Membership::new(SWARM, id(0));
        for grant in grants {
            if membership.would_keep(&grant.grant) {
                membership.keep(grant);
            }
        }
        membership
    }

    #[test]
    fn five_thousand_grants_are_the_same_in_any_order() {
        let mut all = many(1, 5_000);
        all.push(grant(0, 1, Role::Admin));
        let nodes = [1, 2, 3].map(|seed| membership_of(shuffled(all.clone(), seed)));
        let first = &nodes[0];
        assert_eq!(first.grants().len(), GRANTS_PER_GRANTER_MAX + 1);
        for other in &nodes[1..] {
            assert_eq!(other.digest(), first.digest());
            assert_eq!(other.members(), first.members());
        }
        assert!(!first.has_room(&id(1)) && first.has_room(&id(0)));
        // A restart reads what is stored in an order of its own, the admin's own grant last.
        let mut stored: Vec<_> = first.grants().to_vec();
        stored.sort_by_key(|grant| grant.grant.granter == id(0));
        assert_eq!(membership_of(stored).digest(), first.digest());
        // Another admin can still grant, and so can this one's own admins.
        let mut more = nodes[1].clone();
        assert_eq!(more.add(grant(0, 7, Role::Writer)), Ok(true));
        assert!(more.may_write(&id(7)));
    }

    #[test]
    fn a_dropped_grant_takes_with_it_what_hung_on_it() {
        // The grant with the highest hash is dropped when there is one too many.
        let mut all = many(1, GRANTS_PER_GRANTER_MAX as u32);
        let hash = |grant: &SignedGrant| digest_of(&grant.grant);
        let highest = all.iter().map(hash).max().unwrap();
        let names = (0..).map(|n| {
            let name = format!("admin {n}");
            let admin = Grant { name, member: id(2), role: Role::Admin, ..all[0].grant.clone() };
            admin.sign(&key(1)).unwrap()
        });
        let admin = names.into_iter().find(|admin| hash(admin) > highest).unwrap();
        all.pop();
        all.extend([admin, grant(2, 3, Role::Writer), grant(0, 1, Role::Admin)]);
        let mut membership = membership_of(all);
        assert!(membership.may_write(&id(3)));
        let low = many(1, 4_200).into_iter().skip(GRANTS_PER_GRANTER_MAX);
        let low = low.min_by_key(hash).unwrap();
        assert!(membership.would_keep(&low.grant));
        membership.keep(low);
        assert!(!membership.is_member(&id(2)) && !membership.is_member(&id(3)));
        // It is back when its granter is an admin by another grant.
        membership.add(grant(0, 2, Role::Admin)).unwrap();
        assert!(membership.may_write(&id(3)));
    }

    #[test]
    fn restoring_keeps_what_comes_before_its_reason() {
        let admins = 2..=PENDING_GRANTERS_MAX as u8 + 20;
        // The admins' grants, then their own; last the one by the founder that all hang on.
        let mut all: Vec<_> = admins.clone().map(|n| grant(n, n + 100, Role::Writer)).collect();
        all.extend(admins.map(|n| grant(1, n, Role::Admin)));
        all.push(grant(0, 1, Role::Admin));
        let mut first = Membership::new(SWARM, id(0));
        for grant in all.iter().rev() {
            first.add(grant.clone()).unwrap();
        }
        let restored = Membership::restore(SWARM, id(0), all.clone());
        assert_eq!(restored.grants().len(), all.len());
        assert_eq!((restored.digest(), restored.members()), (first.digest(), first.members()));
        // One whose signature is bad is left out.
        all[0].signature = [0; 64];
        assert_eq!(Membership::restore(SWARM, id(0), all.clone()).grants().len(), all.len() - 1);
    }

    #[test]
    fn strangers_cannot_fill_it() {
        let mut membership = Membership::new(SWARM, id(0));
        let strangers = PENDING_GRANTERS_MAX as u8 + 20;
        let mut kept = 0;
        for n in 1..=strangers {
            kept += usize::from(membership.add(grant(n, n, Role::Admin)).unwrap());
        }
        assert!(kept >= PENDING_GRANTERS_MAX, "{kept}");
        assert_eq!(membership.kept.len(), PENDING_GRANTERS_MAX);
        assert_eq!(membership.members().len(), 1);
        let backwards = (1..=strangers).rev().map(|n| grant(n, n, Role::Admin)).collect();
        assert!(membership_of(backwards).kept.keys().eq(membership.kept.keys()));
        assert_eq!(membership.add(grant(0, 101, Role::Writer)), Ok(true));
        assert!(membership.may_write(&id(101)));
    }

    #[test]
    fn the_chain_of_a_member_leads_down_from_the_founder() {
        let all = vec![
            grant(0, 1, Role::Reader),
            grant(0, 1, Role::Admin),
            grant(0, 5, Role::Writer),
            grant(1, 2, Role::Admin),
            grant(2, 3, Role::Writer),
            grant(2, 3, Role::Reader),
        ];
        let membership = membership_of(all);
        let chain = membership.grants_for(&id(3));
        let members: Vec<PeerId> = chain.iter().map(|grant| grant.grant.member).collect();
        assert_eq!(members, [1, 2, 3].map(id));
        assert!(membership_of(chain).may_write(&id(3)));
        assert!(membership.grants_for(&id(0)).is_empty());
        assert!(membership.grants_for(&id(8)).is_empty());
    }

    fn grants() -> impl Strategy<Value = Vec<SignedGrant>> {
        let role = prop::sample::select(vec![Role::Reader, Role::Writer, Role::Admin, Role::Admin]);
        prop::collection::vec((0_u8..5, 0_u8..5, role), 0..8)
            .prop_map(|all| all.into_iter().map(|(by, to, role)| grant(by, to, role)).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

        #[test]
        fn the_order_of_grants_does_not_matter(
            (grants, shuffled) in grants().prop_flat_map(|grants| {
                (Just(grants.clone()), Just(grants).prop_shuffle())
            }),
        ) {
            let mut first = Membership::new(SWARM, id(0));
            let mut second = Membership::new(SWARM, id(0));
            for grant in grants {
                first.add(grant).unwrap();
            }
            for grant in shuffled {
                second.add(grant).unwrap();
            }
            prop_assert_eq!(first.members(), second.members());
            prop_assert_eq!(first.digest(), second.digest());
            // Passed on in their order, no grant ever waits.
            let mut third = Membership::new(SWARM, id(0));
            for (count, grant) in (1..).zip(first.grants()) {
                third.add(grant.clone()).unwrap();
                prop_assert_eq!(third.grants().len(), count);
            }
        }
    }
}

//! Who is a member and what each may do: a pure function of the founder and the set of grants.
//!
//! Invariants:
//! - A grant is effective where its granter is the founder or was made an admin by an effective
//!   grant. Which grants are effective does not depend on the order in which they came.
//! - Only effective grants are passed on, in an order in which none has to wait for another.

mod grant;

use std::collections::{BTreeMap, BTreeSet};

pub use grant::{Grant, GrantDecodeError, Role, SignedGrant};

use crate::id::{PeerId, SwarmId};
use crate::limits::{GRANTS_MAX, GRANTS_PENDING_MAX};
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
    /// The swarm has as many grants as it may.
    #[error("the swarm has {GRANTS_MAX} grants already")]
    Full,
    /// The granter is no admin yet, and too many other grants wait already.
    #[error(
        "the granter {granter:?} is no admin, and {GRANTS_PENDING_MAX} other grants wait already"
    )]
    TooManyPending {
        /// Who grants.
        granter: PeerId,
    },
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
    /// In the order in which they became effective: a granter's own grant comes before its grants.
    effective: Vec<SignedGrant>,
    /// The canonical bytes, without signatures, of all grants here, effective or not: a granter can
    /// make many signatures of one grant, which still is one.
    bodies: BTreeSet<Vec<u8>>,
    /// Grants that wait for their granter to be an admin.
    pending: BTreeMap<PeerId, Vec<SignedGrant>>,
    pending_count: usize,
    /// For each member its highest role, and the lowest name granted with it.
    members: BTreeMap<PeerId, (Role, String)>,
}

impl Membership {
    /// Begins with the founder, whose key is the root of all trust in the swarm.
    pub fn new(swarm: SwarmId, founder: PeerId) -> Self {
        Self {
            swarm,
            founder,
            effective: Vec::new(),
            bodies: BTreeSet::new(),
            pending: BTreeMap::new(),
            pending_count: 0,
            members: BTreeMap::from([(founder, (Role::Admin, String::new()))]),
        }
    }

    /// Takes a grant, which may come from anyone. True where it is new, effective or not.
    ///
    /// # Errors
    ///
    /// Where the grant is not good or does not fit; nothing changes then.
    pub fn add(&mut self, grant: SignedGrant) -> Result<bool, GrantError> {
        if grant.grant.swarm != self.swarm {
            return Err(GrantError::OtherSwarm { ours: self.swarm, theirs: grant.grant.swarm });
        }
        // Built by hand it may be what no peer could decode.
        SignedGrant::decode(&grant.encode())?;
        let body = grant.grant.body();
        if self.bodies.contains(&body) {
            return Ok(false);
        }
        grant
            .verify()
            .map_err(|source| GrantError::BadSignature { member: grant.grant.member, source })?;
        if self.effective.len() >= GRANTS_MAX {
            return Err(GrantError::Full);
        }
        let granter = grant.grant.granter;
        if self.is_admin(&granter) {
            self.bodies.insert(body);
            self.take_effect(grant);
        } else if self.pending_count < GRANTS_PENDING_MAX {
            self.bodies.insert(body);
            self.pending_count += 1;
            self.pending.entry(granter).or_default().push(grant);
        } else {
            return Err(GrantError::TooManyPending { granter });
        }
        Ok(true)
    }

    /// Makes a grant effective, and all that waited for it.
    fn take_effect(&mut self, grant: SignedGrant) {
        let mut ready = vec![grant];
        while let Some(signed) = ready.pop() {
            if self.effective.len() >= GRANTS_MAX {
                self.bodies.remove(&signed.grant.body());
                continue;
            }
            let Grant { member, role, name, .. } = &signed.grant;
            self.raise(*member, *role, name);
            if self.is_admin(member) {
                let waited = self.pending.remove(member).unwrap_or_default();
                self.pending_count -= waited.len();
                ready.extend(waited);
            }
            self.effective.push(signed);
        }
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

    #[test]
    fn strangers_cannot_fill_it() {
        let mut membership = Membership::new(SWARM, id(0));
        for n in 0..GRANTS_PENDING_MAX + 5 {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_le_bytes());
            let grant =
                Grant { member: PeerId::from_bytes(bytes), ..grant(9, 9, Role::Admin).grant };
            let added = membership.add(grant.sign(&key(9)).unwrap());
            assert_eq!(added.is_ok(), n < GRANTS_PENDING_MAX);
        }
        assert_eq!(membership.add(grant(0, 1, Role::Writer)), Ok(true));
        assert!(membership.may_write(&id(1)));
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

//! Signatures of user commits: detached, over a message that names the swarm and the commit.

use data_encoding::HEXLOWER;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::id::{CommitHash, PeerId, SwarmId};
use crate::limits::SIGNATURES_PER_COMMIT_MAX;
use crate::message::SignedCommit;

/// What a commit's signature is over begins with this, so that it can mean nothing else.
const COMMIT_DOMAIN: &[u8] = b"doltswarm v1 user commit\0";

/// The first line of a tag's message.
const TAG_TITLE: &str = "doltswarm signature v1";

/// A signature is not the signer's over what it is said to be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not by {signer:?}, or not over this")]
pub struct BadSignature {
    /// Who is said to have signed.
    pub signer: PeerId,
}

/// The message of a tag is not a signature in text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tag of commit {commit} does not hold a signature: its message is malformed")]
pub struct BadTagMessage {
    /// The commit that the tag names.
    pub commit: CommitHash,
}

/// Returns the bytes that a user commit's signature is over.
pub fn commit_message(swarm: &SwarmId, commit: &CommitHash) -> Vec<u8> {
    [COMMIT_DOMAIN, swarm.as_bytes(), commit.as_bytes()].concat()
}

/// Signs a user commit.
pub fn sign_commit(key: &SigningKey, swarm: &SwarmId, commit: &CommitHash) -> SignedCommit {
    SignedCommit {
        hash: *commit,
        signer: peer_id(key),
        signature: sign(key, &commit_message(swarm, commit)),
    }
}

/// Checks a user commit's signature. Whether the signer may write is the membership's business.
///
/// # Errors
///
/// Where the signature is bad, or the signer's id is no public key.
pub fn verify_commit(swarm: &SwarmId, commit: &SignedCommit) -> Result<(), BadSignature> {
    verify(&commit.signer, &commit_message(swarm, &commit.hash), &commit.signature)
}

/// Keeps of one commit's signatures those of the lowest keys, one of each key; sorted by key. The
/// first one's key is shown as the commit's author, so that is the same wherever the signatures
/// are.
pub fn keep_lowest(signatures: &mut Vec<SignedCommit>) {
    signatures.sort_by_key(|signed| signed.signer);
    signatures.dedup_by_key(|signed| signed.signer);
    signatures.truncate(SIGNATURES_PER_COMMIT_MAX);
}

/// Returns the peer that holds this key.
pub fn peer_id(key: &SigningKey) -> PeerId {
    PeerId::from_bytes(key.verifying_key().to_bytes())
}

/// Returns the text form of a signature: the message of the Dolt tag that carries it.
pub fn tag_message(commit: &SignedCommit) -> String {
    let signature = HEXLOWER.encode(&commit.signature);
    format!("{TAG_TITLE}\nkey: {}\nsignature: {signature}", commit.signer)
}

/// Reads the message of the tag of `commit`. The key in it is a claim, until the signature is
/// verified and the membership knows the key.
///
/// # Errors
///
/// Where the text is not exactly what [`tag_message`] writes, but for white space at its end.
pub fn parse_tag_message(commit: CommitHash, text: &str) -> Result<SignedCommit, BadTagMessage> {
    parse_tag_lines(commit, text.trim_end()).ok_or(BadTagMessage { commit })
}

fn parse_tag_lines(hash: CommitHash, text: &str) -> Option<SignedCommit> {
    let rest = text.strip_prefix(TAG_TITLE)?.strip_prefix("\nkey: ")?;
    let (signer, signature) = rest.split_once("\nsignature: ")?;
    let signature = HEXLOWER.decode(signature.as_bytes()).ok()?.try_into().ok()?;
    Some(SignedCommit { hash, signer: signer.parse().ok()?, signature })
}

/// Signs a message, which must begin with a domain of its own.
pub(crate) fn sign(key: &SigningKey, message: &[u8]) -> [u8; 64] {
    key.sign(message).to_bytes()
}

/// Checks a signature; keys and signatures of mixed order are refused, so all peers agree.
pub(crate) fn verify(
    signer: &PeerId,
    message: &[u8],
    signature: &[u8; 64],
) -> Result<(), BadSignature> {
    let bad = BadSignature { signer: *signer };
    let key = VerifyingKey::from_bytes(signer.as_bytes()).map_err(|_| bad)?;
    key.verify_strict(message, &Signature::from_bytes(signature)).map_err(|_| bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    fn signed() -> (SwarmId, SignedCommit) {
        let swarm = SwarmId::from_bytes([7; 32]);
        (swarm, sign_commit(&key(1), &swarm, &CommitHash::from_bytes([9; 20])))
    }

    #[test]
    fn the_lowest_keys_are_kept_in_any_order() {
        let signed = |n: u8| SignedCommit {
            hash: CommitHash::from_bytes([9; 20]),
            signer: PeerId::from_bytes([n; 32]),
            signature: [n; 64],
        };
        let keys = |order: &[u8]| {
            let mut kept = Vec::new();
            for n in order {
                kept.push(signed(*n));
                keep_lowest(&mut kept);
            }
            kept
        };
        let expected = [1, 2, 3, 4].map(signed);
        for order in [[1, 2, 3, 4, 5, 6, 1], [6, 5, 4, 3, 2, 1, 1], [3, 6, 3, 1, 5, 2, 4]] {
            assert_eq!(keys(&order), expected, "{order:?}");
        }
    }

    #[test]
    fn a_signature_is_for_one_swarm_commit_and_key() {
        let (swarm, good) = signed();
        assert_eq!(verify_commit(&swarm, &good), Ok(()));

        let bad = Err(BadSignature { signer: good.signer });
        assert_eq!(verify_commit(&SwarmId::from_bytes([8; 32]), &good), bad);
        let other_commit = SignedCommit { hash: CommitHash::from_bytes([8; 20]), ..good.clone() };
        assert_eq!(verify_commit(&swarm, &other_commit), bad);
        let other_signer = SignedCommit { signer: peer_id(&key(2)), ..good.clone() };
        assert!(verify_commit(&swarm, &other_signer).is_err());
        let mut altered = good.clone();
        altered.signature[0] ^= 1;
        assert_eq!(verify_commit(&swarm, &altered), bad);
        // The identity point: a weak key, under which some signatures fit any message.
        let mut weak = [0; 32];
        weak[0] = 1;
        let weak = SignedCommit { signer: PeerId::from_bytes(weak), signature: [0; 64], ..good };
        assert!(verify_commit(&swarm, &weak).is_err());
    }

    #[test]
    fn tag_text_round_trips_and_is_read_strictly() {
        let (_, good) = signed();
        let text = tag_message(&good);
        assert_eq!(parse_tag_message(good.hash, &text), Ok(good.clone()));
        assert_eq!(parse_tag_message(good.hash, &format!("{text}\n")), Ok(good.clone()));
        let bad = Err(BadTagMessage { commit: good.hash });
        let wrong = [
            String::new(),
            text.to_uppercase(),
            text.replace("v1", "v2"),
            text.replace('\n', "\r\n"),
            text[..text.len() - 2].to_owned(),
            format!("{text}00"),
            format!("x{text}"),
            text.replace("key: ", "key:  "),
        ];
        for text in wrong {
            assert_eq!(parse_tag_message(good.hash, &text), bad, "{text}");
        }
    }
}

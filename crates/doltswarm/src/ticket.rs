//! Tickets: the text that one person gives another so that they can join.
//!
//! The form, for version 1: the prefix, then in lower-case base32 without padding a version byte,
//! the swarm, the inviter, the secret, the count of addresses and each of them (4 or 6, the
//! address, the port in network order), and four bytes of a BLAKE3 hash over all of it. The prefix,
//! the version byte and the hash are the same in every version to come, so that a newer ticket is
//! told from a mistyped one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use data_encoding::{Encoding, Specification};
use doltswarm_core::id::{PeerId, SwarmId};
use doltswarm_core::limits;

const PREFIX: &str = "doltswarm";
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
/// The longest text that is looked at for a ticket, in bytes: one with a mark before every line of
/// a few letters.
const TEXT_READ_BYTES_MAX: usize = 4 * limits::TICKET_TEXT_BYTES_MAX;

/// Everything a newcomer needs to reach the swarm, and a secret that makes its bearer a member.
///
/// `Display` is the ticket itself, with the secret; `Debug` leaves the secret out.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The swarm to join.
    pub swarm: SwarmId,
    /// The peer that made the ticket, and alone can redeem it.
    pub inviter: PeerId,
    /// Where the inviter may be, the best first; at most [`limits::ADDRESSES_PER_PEER_MAX`], more
    /// are left out of the text. Scopes and flow labels of IPv6 are left out too: they mean nothing
    /// on another machine.
    pub addresses: Vec<SocketAddr>,
    /// What redeems it.
    pub secret: [u8; 16],
}

/// Why a text is not a ticket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseTicketError {
    /// It is something else.
    #[error("this is not a ticket: a ticket is one word that starts with `{PREFIX}`")]
    NotATicket,
    /// It was one.
    #[error("this ticket was cut short or mistyped: copy the whole of it again")]
    Damaged,
    /// It is for a newer program.
    #[error(
        "this ticket has version {found}, and this program knows {VERSION}: update it, or ask for a ticket of an older one"
    )]
    NewerVersion {
        /// The ticket's version.
        found: u8,
    },
}

fn base32() -> Encoding {
    let mut specification = Specification::new();
    specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification.encoding().expect("because 32 distinct symbols are a base32 alphabet")
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = blake3::derive_key("doltswarm v1 ticket checksum", bytes);
    [hash[0], hash[1], hash[2], hash[3]]
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![VERSION];
        bytes.extend(self.swarm.as_bytes());
        bytes.extend(self.inviter.as_bytes());
        bytes.extend(self.secret);
        let kept = self.addresses.len().min(limits::ADDRESSES_PER_PEER_MAX);
        bytes.push(u8::try_from(kept).expect("because the limit on addresses fits a byte"));
        for address in &self.addresses[..kept] {
            match address.ip() {
                IpAddr::V4(ip) => {
                    bytes.push(4);
                    bytes.extend(ip.octets());
                }
                IpAddr::V6(ip) => {
                    bytes.push(6);
                    bytes.extend(ip.octets());
                }
            }
            bytes.extend(address.port().to_be_bytes());
        }
        bytes.extend(checksum(&bytes));
        write!(f, "{PREFIX}{}", base32().encode(&bytes))
    }
}

impl FromStr for Ticket {
    type Err = ParseTicketError;

    /// Reads a ticket. What mail programs, chats and shells do to a long word is undone: white
    /// space in and around it, quotes and brackets around it, and capitals do not matter.
    fn from_str(text: &str) -> Result<Self, ParseTicketError> {
        if text.len() > TEXT_READ_BYTES_MAX {
            return Err(ParseTicketError::NotATicket);
        }
        let text = text.chars().filter(|c| !is_wrapping(*c)).collect::<String>();
        let text = text.to_ascii_lowercase();
        let body = text
            .strip_prefix(PREFIX)
            .filter(|_| text.len() <= limits::TICKET_TEXT_BYTES_MAX)
            .ok_or(ParseTicketError::NotATicket)?;
        let bytes = base32().decode(body.as_bytes()).map_err(|_| ParseTicketError::Damaged)?;
        let (fields, sum) =
            bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(ParseTicketError::Damaged)?;
        if checksum(fields) != *sum {
            return Err(ParseTicketError::Damaged);
        }
        match fields {
            [VERSION, rest @ ..] => parse_fields(rest).ok_or(ParseTicketError::Damaged),
            [found, ..] if *found > VERSION => {
                Err(ParseTicketError::NewerVersion { found: *found })
            }
            _ => Err(ParseTicketError::Damaged),
        }
    }
}

/// Whether a character only came between or around the letters of a ticket on its way.
fn is_wrapping(c: char) -> bool {
    const QUOTES: &str = "\"'`<>()[]{}\u{2018}\u{2019}\u{201c}\u{201d}\u{ab}\u{bb}";
    const INVISIBLE: &str = "\u{ad}\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}";
    c.is_whitespace() || QUOTES.contains(c) || INVISIBLE.contains(c)
}

/// Takes the fields after the version apart; `None` where they are not exactly those of a ticket.
fn parse_fields(rest: &[u8]) -> Option<Ticket> {
    let (swarm, rest) = rest.split_first_chunk::<{ SwarmId::BYTES }>()?;
    let (inviter, rest) = rest.split_first_chunk::<{ PeerId::BYTES }>()?;
    let (secret, rest) = rest.split_first_chunk::<16>()?;
    let (count, mut rest) = rest.split_first()?;
    if usize::from(*count) > limits::ADDRESSES_PER_PEER_MAX {
        return None;
    }
    let mut addresses = Vec::with_capacity(usize::from(*count));
    for _ in 0..*count {
        let (address, after) = parse_address(rest)?;
        addresses.push(address);
        rest = after;
    }
    rest.is_empty().then_some(Ticket {
        swarm: SwarmId::from_bytes(*swarm),
        inviter: PeerId::from_bytes(*inviter),
        addresses,
        secret: *secret,
    })
}

fn parse_address(bytes: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let (family, rest) = bytes.split_first()?;
    let (ip, rest) = match family {
        4 => {
            let (octets, rest) = rest.split_first_chunk::<4>()?;
            (IpAddr::from(Ipv4Addr::from(*octets)), rest)
        }
        6 => {
            let (octets, rest) = rest.split_first_chunk::<16>()?;
            (IpAddr::from(Ipv6Addr::from(*octets)), rest)
        }
        _ => return None,
    };
    let (port, rest) = rest.split_first_chunk::<2>()?;
    Some((SocketAddr::new(ip, u16::from_be_bytes(*port)), rest))
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("swarm", &self.swarm)
            .field("inviter", &self.inviter)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tickets() -> impl Strategy<Value = Ticket> {
        let ip = prop_oneof![
            any::<[u8; 4]>().prop_map(|octets| IpAddr::from(Ipv4Addr::from(octets))),
            any::<[u8; 16]>().prop_map(|octets| IpAddr::from(Ipv6Addr::from(octets))),
        ];
        let address = (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port));
        let addresses = prop::collection::vec(address, 0..=limits::ADDRESSES_PER_PEER_MAX);
        (any::<[u8; 32]>(), any::<[u8; 32]>(), addresses, any::<[u8; 16]>()).prop_map(
            |(swarm, inviter, addresses, secret)| Ticket {
                swarm: SwarmId::from_bytes(swarm),
                inviter: PeerId::from_bytes(inviter),
                addresses,
                secret,
            },
        )
    }

    fn sample() -> Ticket {
        Ticket {
            swarm: SwarmId::from_bytes([1; 32]),
            inviter: PeerId::from_bytes([2; 32]),
            addresses: vec!["192.0.2.7:4711".parse().unwrap(), "[2001:db8::1]:9".parse().unwrap()],
            secret: [0xee; 16],
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(ticket in tickets()) {
            let text = ticket.to_string();
            prop_assert!(text.len() <= limits::TICKET_TEXT_BYTES_MAX);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
            prop_assert_eq!(text.parse::<Ticket>(), Ok(ticket.clone()));
            prop_assert_eq!(format!(" {text}\n").parse::<Ticket>(), Ok(ticket));
        }

        #[test]
        fn truncation_is_an_error(ticket in tickets(), at in any::<prop::sample::Index>()) {
            let text = ticket.to_string();
            prop_assert!(text[..at.index(text.len())].parse::<Ticket>().is_err());
        }

        #[test]
        fn change_of_one_character_is_an_error(
            ticket in tickets(), at in any::<prop::sample::Index>(), with in any::<char>(),
        ) {
            let mut characters: Vec<char> = ticket.to_string().chars().collect();
            let at = at.index(characters.len());
            // Another case of the same letter is no change.
            prop_assume!(characters[at] != with.to_ascii_lowercase());
            characters[at] = with;
            let text: String = characters.into_iter().collect();
            prop_assert!(text.parse::<Ticket>().is_err());
        }

        #[test]
        fn change_within_the_alphabet_is_damage(
            ticket in tickets(), at in any::<prop::sample::Index>(), with in "[a-z2-7]",
        ) {
            let mut text = ticket.to_string();
            let at = PREFIX.len() + at.index(text.len() - PREFIX.len());
            prop_assume!(text[at..=at] != with);
            text.replace_range(at..=at, &with);
            prop_assert_eq!(text.parse::<Ticket>(), Err(ParseTicketError::Damaged));
        }

        #[test]
        fn garbage_is_an_error(text in "\\PC*", bytes in any::<Vec<u8>>()) {
            prop_assert!(text.parse::<Ticket>().is_err());
            // With a good checksum, so that the fields are reached.
            let mut bytes = [vec![VERSION], bytes].concat();
            bytes.extend(checksum(&bytes));
            let _ = format!("{PREFIX}{}", base32().encode(&bytes)).parse::<Ticket>();
        }
    }

    #[test]
    fn errors_tell_what_happened() {
        let text = sample().to_string();
        for other in ["", "hello", "https://example.org", &text[1..]] {
            assert_eq!(other.parse::<Ticket>(), Err(ParseTicketError::NotATicket), "{other}");
        }
        let long = format!("{text}{}", "a".repeat(limits::TICKET_TEXT_BYTES_MAX));
        assert_eq!(long.parse::<Ticket>(), Err(ParseTicketError::NotATicket));
        for cut in [PREFIX, &text[..text.len() - 1], &text[..40]] {
            assert_eq!(cut.parse::<Ticket>(), Err(ParseTicketError::Damaged), "{cut}");
        }
    }

    #[test]
    fn wrapped_quoted_and_capital_tickets_are_read() {
        let ticket = sample();
        let text = ticket.to_string();
        let (first, second) = text.split_at(60);
        for carried in [
            text.to_uppercase(),
            format!("\"{text}\""),
            format!("<{text}>\r\n"),
            format!("  > {first}\r\n  > {second}\n"),
            format!("\u{201c}{first}\u{200b} {second}\u{201d}"),
        ] {
            assert_eq!(carried.parse::<Ticket>().as_ref(), Ok(&ticket), "{carried}");
        }
        let twice = format!("{text}{text}");
        assert_eq!(twice.parse::<Ticket>(), Err(ParseTicketError::Damaged));
    }

    #[test]
    fn newer_version_is_told_from_damage() {
        let mut bytes = vec![VERSION + 1, 1, 2, 3];
        bytes.extend(checksum(&bytes));
        let text = format!("{PREFIX}{}", base32().encode(&bytes));
        let error = text.parse::<Ticket>().unwrap_err();
        assert_eq!(error, ParseTicketError::NewerVersion { found: VERSION + 1 });
    }

    #[test]
    fn debug_leaves_the_secret_out() {
        let shown = format!("{:?}", sample());
        assert!(!shown.contains("238") && !shown.contains("secret"), "{shown}");
    }
}

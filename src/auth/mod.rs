//! Who a client is: bearer tokens and the principals behind them (§6.1).
//!
//! The daemon keeps SHA-256 hashes of tokens, never the tokens. A presented token is hashed and its hash compared
//! with every entry in constant time, and whatever was wrong the answer is the same, so neither the time nor the
//! text of a refusal tells which tokens or names there are.

mod role;
pub mod token_file;

use std::collections::BTreeSet;
use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

pub use self::role::{NotARole, Role};
use crate::wire::dialect;
pub use crate::wire::principal::{NotAPrincipal, Principal, SUBJECT_CHARS};
use crate::wire::session::Token;

/// The SHA-256 hash of a token. Compares in constant time and cannot be printed: the hash of a guessable token
/// gives the token away.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Takes a hash that was made elsewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        TokenHash(bytes)
    }

    /// The hash itself, for storing it or using it as a key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// Hashes a token: a bearer token or a resume token.
pub fn hash(token: &str) -> TokenHash {
    TokenHash(Sha256::digest(token.as_bytes()).into())
}

/// One token that is accepted, and whose it is. A principal may have several, for changing them over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenEntry {
    /// Whom the token stands for.
    pub principal: Principal,
    /// What it allows beyond the principal's own sessions and jobs.
    pub roles: BTreeSet<Role>,
    /// The dialect of whoever shows it, where its first frame is not to tell.
    pub dialect: Option<dialect::Choice>,
    /// The token's hash.
    pub hash: TokenHash,
}

/// Who is asking, and what the token allows that was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whom the token stands for.
    pub principal: Principal,
    /// What it allows beyond the principal's own sessions and jobs.
    pub roles: BTreeSet<Role>,
    /// The dialect of whoever shows it, where its first frame is not to tell.
    pub dialect: Option<dialect::Choice>,
}

/// The one answer to a missing credential, an unknown scheme and a wrong token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the bearer token is missing or not one that this daemon knows; send auth {{\"scheme\": \"bearer\", \
     \"token\": …}} with a token that its operator has given you"
)]
pub struct Unauthenticated;

/// Tells principals by their tokens.
#[derive(Debug, Clone, Default)]
pub struct Authenticator {
    entries: Vec<TokenEntry>,
}

impl Authenticator {
    /// Accepts these tokens and no others; without entries it refuses everybody.
    pub fn new(entries: Vec<TokenEntry>) -> Self {
        Authenticator { entries }
    }

    /// Whether anybody comes in as this principal.
    pub fn knows(&self, principal: &Principal) -> bool {
        self.entries.iter().any(|entry| entry.principal == *principal)
    }

    /// Tells whose token this is (§6.1). Takes the same time for every token of a length: there is no early exit.
    ///
    /// # Errors
    /// [`Unauthenticated`], also what to answer where a client sent no credential at all.
    pub fn authenticate(&self, scheme: &str, token: &Token) -> Result<Caller, Unauthenticated> {
        let presented = hash(token.expose());
        let mut found = Choice::from(0);
        let mut at = 0_u64;
        for (index, entry) in (0_u64..).zip(&self.entries) {
            let same = presented.0.ct_eq(&entry.hash.0);
            at.conditional_assign(&index, same);
            found |= same;
        }
        let right = found & Choice::from(u8::from(scheme.eq_ignore_ascii_case("bearer")));
        let entry = usize::try_from(at).ok().and_then(|at| self.entries.get(at));
        match entry {
            Some(TokenEntry { principal, roles, dialect, .. }) if bool::from(right) => {
                Ok(Caller { principal: principal.clone(), roles: roles.clone(), dialect: *dialect })
            }
            _ => Err(Unauthenticated),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, token: &str) -> TokenEntry {
        let roles = token.ends_with('2').then_some(Role::Operator).into_iter().collect();
        TokenEntry { principal: name.parse().unwrap(), roles, dialect: None, hash: hash(token) }
    }

    fn authenticator() -> Authenticator {
        Authenticator::new(vec![entry("alice", "tok-a"), entry("bob", "tok-b"), entry("alice", "tok-a2")])
    }

    #[test]
    fn a_token_names_its_principal_and_its_roles() {
        let auth = authenticator();
        for (token, name) in [("tok-a", "alice"), ("tok-b", "bob"), ("tok-a2", "alice")] {
            for scheme in ["bearer", "Bearer"] {
                let caller = auth.authenticate(scheme, &Token::new(token)).unwrap();
                assert_eq!(caller.principal.subject(), name);
                assert_eq!(
                    caller.roles.contains(&Role::Operator),
                    token == "tok-a2",
                    "a role is its token's"
                );
            }
        }
    }

    #[test]
    fn every_refusal_reads_the_same_and_says_what_to_do() {
        let auth = authenticator();
        let refusals = [
            auth.authenticate("bearer", &Token::new("tok-c")),
            auth.authenticate("bearer", &Token::new("")),
            auth.authenticate("basic", &Token::new("tok-a")),
            auth.authenticate("", &Token::new("tok-a")),
            Authenticator::default().authenticate("bearer", &Token::new("tok-a")),
        ];
        for refusal in refusals {
            let text = refusal.unwrap_err().to_string();
            assert_eq!(text, Unauthenticated.to_string());
            assert!(text.contains("bearer") && !text.contains("tok-") && !text.contains("alice"), "{text}");
        }
    }

    #[test]
    fn subjects_follow_the_grammar() {
        for good in ["alice", "a.b_c@example-1", &"a".repeat(64)] {
            assert_eq!(good.parse::<Principal>().unwrap().to_string(), good);
        }
        for wrong in ["", "a b", "é", "a=b", "a,b", "a/b", &"a".repeat(65)] {
            assert!(wrong.parse::<Principal>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_secret_is_printed() {
        let printed = format!("{:?}", authenticator());
        assert!(!printed.contains("tok-") && !printed.contains(&hex::encode(hash("tok-a").as_bytes())));
    }

    #[test]
    fn the_hash_is_sha_256() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex::encode(hash("").as_bytes()), empty);
    }
}

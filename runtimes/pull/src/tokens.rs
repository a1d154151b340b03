//! Who let us in where: tokens until they end, and how each repository asked last.

use crate::challenge::Challenge;
use crate::limits::{TOKEN_LIFE, TOKENS};
use holdfast_runtime::PullAuth;
use serde::Deserialize;
use std::collections::VecDeque;
use std::time::Duration;

/// What a token opens, and for whom it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenKey {
    /// The token server.
    pub realm: String,
    /// For whom.
    pub service: String,
    /// What for.
    pub scope: String,
    /// Who asked; `None` for nobody in particular.
    pub auth: Option<PullAuth>,
}

struct Token {
    key: TokenKey,
    text: String,
    ends: Duration,
}

/// The memory. Times are those of a monotonic clock.
#[derive(Default)]
pub struct Tokens {
    tokens: VecDeque<Token>,
    /// By origin and repository.
    asked: VecDeque<(String, Challenge)>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokens({} tokens)", self.tokens.len())
    }
}

/// The answer of a token server.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    expires_in: Option<u64>,
}

impl Tokens {
    /// How a place asked last.
    pub fn asked(&self, place: &str) -> Option<&Challenge> {
        self.asked.iter().find(|(known, _)| known == place).map(|(_, challenge)| challenge)
    }

    /// Notes how a place asks.
    pub fn note(&mut self, place: &str, challenge: Challenge) {
        self.asked.retain(|(known, _)| known != place);
        self.asked.push_back((place.to_string(), challenge));
        while self.asked.len() > TOKENS {
            self.asked.pop_front();
        }
    }

    /// A token that is still good.
    pub fn find(&mut self, key: &TokenKey, now: Duration) -> Option<String> {
        self.tokens.retain(|token| token.ends > now);
        self.tokens.iter().find(|token| token.key == *key).map(|token| token.text.clone())
    }

    /// Takes in what a token server answered; returns the token.
    ///
    /// # Errors
    /// What is wrong with the answer.
    pub fn take(&mut self, key: TokenKey, answer: &[u8], now: Duration) -> Result<String, String> {
        let answer: Answer = serde_json::from_slice(answer).map_err(|err| format!("the token's answer: {err}"))?;
        let text = if answer.token.is_empty() { answer.access_token } else { answer.token };
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the token server answered without a token".into());
        }
        let life = answer.expires_in.map_or(TOKEN_LIFE, Duration::from_secs);
        // Not to the last moment: it has to be good when it arrives.
        let ends = now.saturating_add(life - life / 10);
        self.tokens.retain(|token| token.key != key);
        self.tokens.push_back(Token { key, text: text.clone(), ends });
        while self.tokens.len() > TOKENS {
            self.tokens.pop_front();
        }
        Ok(text)
    }

    /// Forgets a token that was refused.
    pub fn forget(&mut self, key: &TokenKey) {
        self.tokens.retain(|token| token.key != *key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_end_in_time_and_are_bounded() {
        let mut tokens = Tokens::default();
        let key = |scope: &str| TokenKey { realm: "r".into(), service: "s".into(), scope: scope.into(), auth: None };
        let at = Duration::from_secs;
        assert_eq!(tokens.take(key("a"), br#"{"token": "t", "expires_in": 100}"#, at(0)).unwrap(), "t");
        assert_eq!(tokens.find(&key("a"), at(89)).as_deref(), Some("t"));
        assert_eq!(tokens.find(&TokenKey { auth: Some(PullAuth::default()), ..key("a") }, at(0)), None);
        assert_eq!(tokens.find(&key("a"), at(90)), None);
        assert_eq!(tokens.take(key("b"), br#"{"access_token": "u"}"#, at(0)).unwrap(), "u");
        assert_eq!(tokens.find(&key("b"), at(53)).as_deref(), Some("u"));
        tokens.forget(&key("b"));
        assert_eq!(tokens.find(&key("b"), at(0)), None);
        for wrong in [&b"{}"[..], b"no", b"{\"token\": \"a b\"}"] {
            assert!(tokens.take(key("c"), wrong, at(0)).is_err());
        }
        for count in 0..2 * TOKENS {
            tokens.take(key(&count.to_string()), br#"{"token": "t"}"#, at(0)).unwrap();
            tokens.note(&count.to_string(), Challenge::Basic);
        }
        assert_eq!((tokens.tokens.len(), tokens.asked.len()), (TOKENS, TOKENS));
    }
}

//! [`Exchange`]: bringing one thing from the hosts that may have it.
//!
//! It is told what happened and answers what to do; it has no clock, socket or task. Rules:
//!
//! - Hosts are asked in their order. One that does not have the thing, refuses, or fails is left for the next; the last one, and
//!   one that has sent something, only after [`limits::TRIES`] failures in a row without progress. What the last one said is the
//!   outcome.
//! - A challenge is answered once with what is known and once with what is fetched for it; then the next credentials that
//!   fit are tried. A token server gets the credentials only over TLS, unless the registry itself is asked in the clear.
//! - A redirect is followed, never from TLS to plain HTTP, and only the host itself is shown authorization and its headers.
//! - An interrupted blob goes on where it stopped, at the registry's own address. What is more, less or else than was
//!   promised is never passed on as whole.

use crate::challenge::{self, Challenge};
use crate::documents::ACCEPT;
use crate::hosts::Host;
use crate::limits;
use crate::tokens::{TokenKey, Tokens};
use crate::url::{Url, query_value};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use holdfast_core::Backoff;
use holdfast_runtime::digest::{Hasher, sha256, valid_digest};
use holdfast_runtime::{Keyring, PullAuth};
use http::header::{
    ACCEPT as ACCEPT_HEADER, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION,
    RANGE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Method};
use std::time::Duration;

mod words;

pub use words::{Body, Done, Failure, Request, Step, Want};

#[derive(Clone, PartialEq, Eq)]
enum Phase {
    /// The thing itself is asked for, here.
    Asked(Url),
    /// Its error is being read.
    Explained { status: u16, redirected: bool, retry_after: Option<Duration> },
    /// A token is asked for.
    Token(TokenKey),
    /// A manifest comes.
    Document { content_type: String, told: Option<String> },
    /// A blob comes; so many bytes of it are not wanted.
    Coming { skip: u64 },
    /// Nothing is under way.
    Idle,
}

/// How we show who we are.
#[derive(Clone, Default, PartialEq, Eq)]
enum Showing {
    #[default]
    Nothing,
    Password,
    /// A token, and whether it was made for this exchange.
    Token {
        key: TokenKey,
        text: String,
        fresh: bool,
    },
}

/// One thing on its way.
pub struct Exchange {
    want: Want,
    registry: String,
    repository: String,
    hosts: Vec<Host>,
    at: usize,
    keyring: Keyring,
    credentials: Vec<PullAuth>,
    credential: usize,
    showing: Showing,
    phase: Phase,
    redirects: u32,
    backoff: Backoff,
    /// Where the next byte belongs.
    position: u64,
    /// Where it stood when the current failures began.
    marked: u64,
    /// Where it stood when the host was first asked.
    arrived: u64,
    unreachable: Vec<Url>,
    hasher: Option<Hasher>,
    said: Vec<String>,
}

impl Exchange {
    /// `hosts` in the order of asking; those that may not are left out.
    ///
    /// # Errors
    /// When none is left.
    pub fn new(
        want: Want,
        registry: &str,
        repository: &str,
        hosts: &[Host],
        keyring: &Keyring,
    ) -> Result<Exchange, Failure> {
        let by_tag = match &want {
            Want::Digest { .. } => true,
            Want::Manifest { reference } => !valid_digest(reference),
            Want::Blob { .. } => false,
        };
        let able = |host: &&Host| if by_tag { host.resolve } else { host.pull };
        let hosts: Vec<Host> = hosts.iter().filter(able).cloned().collect();
        let position = if let Want::Blob { offset, .. } = want { offset } else { 0 };
        let hasher = match &want {
            Want::Blob { digest, offset: 0, .. } => Hasher::new(digest),
            _ => None,
        };
        if hosts.is_empty() {
            return Err(Failure::Refused(format!("no host of {registry} may be asked for this, by its hosts.toml")));
        }
        let mut exchange = Exchange {
            want,
            registry: registry.to_string(),
            repository: repository.to_string(),
            hosts,
            at: 0,
            keyring: keyring.clone(),
            credentials: Vec::new(),
            credential: 0,
            showing: Showing::Nothing,
            phase: Phase::Idle,
            redirects: 0,
            backoff: Backoff::new(limits::RETRY.0, limits::RETRY.1),
            position,
            marked: position,
            arrived: position,
            unreachable: Vec::new(),
            hasher,
            said: Vec::new(),
        };
        exchange.arrive();
        Ok(exchange)
    }

    fn host(&self) -> &Host {
        // `at` never passes the last: `next_host` ends before.
        &self.hosts[self.at.min(self.hosts.len() - 1)]
    }

    /// At a host for the first time.
    fn arrive(&mut self) {
        let host = self.host();
        // A mirror has credentials of its own, by its own name; the registry's are not for it.
        let name = if host.mirror { host.base.authority() } else { self.registry.clone() };
        self.credentials = self.keyring.lookup(&format!("{name}/{}", self.repository));
        (self.credential, self.showing, self.redirects) = (0, Showing::Nothing, 0);
        self.arrived = self.position;
        self.backoff.reset();
    }

    /// The credentials that the host was shown, or that its token was made for.
    pub fn shown(&self) -> Option<&PullAuth> {
        match &self.showing {
            Showing::Nothing => None,
            Showing::Password => self.credentials(),
            Showing::Token { key, .. } => key.auth.as_ref(),
        }
    }

    /// Mirrors that did not answer.
    pub fn unreachable(&self) -> &[Url] {
        &self.unreachable
    }

    /// The place whose way of asking is remembered.
    fn place(&self) -> String {
        format!("{} {}", self.host().base, self.repository)
    }

    fn credentials(&self) -> Option<&PullAuth> {
        self.credentials.get(self.credential)
    }

    /// Asks, at the beginning and after each wait.
    pub fn send(&mut self, now: Duration, tokens: &mut Tokens) -> Step {
        if let Want::Blob { size, .. } = self.want
            && self.position == size
        {
            return self.whole();
        }
        self.redirects = 0;
        if self.showing == Showing::Nothing {
            self.showing = match tokens.asked(&self.place()).cloned() {
                Some(Challenge::Basic) if self.credentials().is_some() => Showing::Password,
                Some(Challenge::Bearer { realm, service, scope }) => {
                    let key = TokenKey { realm, service, scope, auth: self.credentials().cloned() };
                    match tokens.find(&key, now) {
                        Some(text) => Showing::Token { key, text, fresh: false },
                        None => Showing::Nothing,
                    }
                }
                _ => Showing::Nothing,
            };
        }
        let host = self.host();
        let what = match &self.want {
            Want::Digest { tag } => format!("manifests/{tag}"),
            Want::Manifest { reference } => format!("manifests/{reference}"),
            Want::Blob { digest, .. } => format!("blobs/{digest}"),
        };
        let of = if host.mirror { format!("?ns={}", query_value(&self.registry)) } else { String::new() };
        let url = host.base.with_path(format!("{}/{}/{what}{of}", host.base.path, self.repository));
        self.ask(url)
    }

    fn ask(&mut self, url: Url) -> Step {
        let host = self.host();
        let own = url.same_origin(&host.base);
        let mut headers = if own { host.headers.clone() } else { Vec::new() };
        let mut set = |name: http::HeaderName, value: String| {
            headers.retain(|(known, _)| known != name.as_str());
            headers.push((name.to_string(), value));
        };
        match &self.want {
            Want::Digest { .. } | Want::Manifest { .. } => set(ACCEPT_HEADER, ACCEPT.to_string()),
            Want::Blob { .. } => {
                if self.position > 0 {
                    set(RANGE, format!("bytes={}-", self.position));
                }
            }
        }
        if own {
            match (&self.showing, self.credentials.get(self.credential)) {
                (Showing::Password, Some(auth)) => set(AUTHORIZATION, basic(auth)),
                (Showing::Token { text, .. }, _) => set(AUTHORIZATION, format!("Bearer {text}")),
                _ => {}
            }
        }
        let method = if matches!(self.want, Want::Digest { .. }) { Method::HEAD } else { Method::GET };
        let tls = host.tls.clone();
        self.phase = Phase::Asked(url.clone());
        Step::Send(Box::new(Request { method, url, headers, body: Bytes::new(), tls, own }))
    }

    /// The head of an answer has come.
    pub fn response(&mut self, now: Duration, status: u16, headers: &HeaderMap, tokens: &mut Tokens) -> Body {
        let text = |name: http::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let retry_after = text(RETRY_AFTER).and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
        let url = match &self.phase {
            Phase::Token(_) => {
                return match status {
                    200 => Body::Collect { limit: limits::TOKEN_BYTES },
                    429 | 500.. => Body::Drop(self.again(format!("the token server answered {status}"), retry_after)),
                    status => {
                        let who = self.credentials().map_or("nobody in particular", |auth| auth.username.as_str());
                        let why = format!("the token server answered {status} for {who:?}");
                        Body::Drop(self.next_credentials(now, why, tokens))
                    }
                };
            }
            Phase::Asked(url) => url.clone(),
            _ => return Body::Drop(self.again("it answered twice".into(), None)),
        };
        let own = url.same_origin(&self.host().base);
        match status {
            301 | 302 | 303 | 307 | 308 => Body::Drop(self.redirected(&url, text(LOCATION))),
            401 if own => {
                let challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
                Body::Drop(self.challenged(now, challenge::parse(challenges), tokens))
            }
            200 | 206 => self.content(status, headers),
            status if matches!(self.want, Want::Digest { .. }) => {
                Body::Drop(self.explained(now, status, !own, retry_after, b"", tokens))
            }
            status => {
                self.phase = Phase::Explained { status, redirected: !own, retry_after };
                Body::Explain { limit: limits::ERROR_BYTES }
            }
        }
    }

    fn redirected(&mut self, from: &Url, location: Option<&str>) -> Step {
        self.redirects += 1;
        let to = location.ok_or_else(|| "it redirects to nowhere".to_string()).and_then(|to| from.join(to));
        match to {
            Err(why) => self.next_host(Failure::Refused(why)),
            Ok(_) if self.redirects > limits::REDIRECTS => {
                self.next_host(Failure::Refused(format!("it redirects more than {} times", limits::REDIRECTS)))
            }
            Ok(to) if from.https && !to.https => {
                self.next_host(Failure::Refused(format!("it redirects from TLS to {to}, which is not")))
            }
            Ok(to) => self.ask(to),
        }
    }

    fn challenged(&mut self, now: Duration, challenge: Option<Challenge>, tokens: &mut Tokens) -> Step {
        let refused = match &self.showing {
            Showing::Nothing => false,
            // It may have changed its mind since it was last asked.
            Showing::Password => !matches!(challenge, Some(Challenge::Bearer { .. })),
            Showing::Token { key, fresh, .. } => {
                tokens.forget(key);
                *fresh
            }
        };
        let Some(challenge) = challenge else {
            return self.next_host(Failure::Refused("it answered 401 without a challenge that is known".into()));
        };
        let place = self.place();
        tokens.note(&place, challenge.clone());
        if refused {
            let why = "it answered 401: the credentials, or the token for them, are refused".to_string();
            return self.next_credentials(now, why, tokens);
        }
        match challenge {
            Challenge::Basic if self.credentials().is_none() => self
                .next_host(Failure::Refused("it answered 401: it wants credentials, and there are none for it".into())),
            Challenge::Basic => {
                self.showing = Showing::Password;
                self.send(now, tokens)
            }
            Challenge::Bearer { realm, service, scope } => self.ask_for_token(realm, service, scope),
        }
    }

    fn ask_for_token(&mut self, realm: String, service: String, scope: String) -> Step {
        let host = self.host();
        let url = match Url::parse(&realm) {
            Ok(url) if host.base.https && !url.https => {
                let why = format!("its token server is {url}, and credentials are not shown in the clear");
                return self.next_host(Failure::Refused(why));
            }
            Ok(url) => url,
            Err(why) => return self.next_host(Failure::Refused(format!("its token server: {why}"))),
        };
        let own = url.host.eq_ignore_ascii_case(&host.base.host);
        let wanted = if scope.is_empty() { format!("repository:{}:pull", self.repository) } else { scope.clone() };
        let auth = self.credentials().cloned();
        let mut headers = vec![(ACCEPT_HEADER.to_string(), "application/json".to_string())];
        let (method, path, body) = match &auth {
            // OAuth 2 (RFC 6749, section 6): who holds an identity token asks by it, and has no password.
            Some(auth) if auth.is_identity_token() => {
                headers.push((CONTENT_TYPE.to_string(), "application/x-www-form-urlencoded".to_string()));
                let part = |(name, value): (&str, &str)| format!("{name}={}", query_value(value));
                let form = [
                    ("grant_type", "refresh_token"),
                    ("client_id", "holdfast"),
                    ("service", service.as_str()),
                    ("scope", wanted.as_str()),
                    ("refresh_token", auth.password.as_str()),
                ];
                (Method::POST, url.path.clone(), Bytes::from(form.map(part).join("&")))
            }
            auth => {
                let mut path = format!("{}{}", url.path, if url.path.contains('?') { '&' } else { '?' });
                if !service.is_empty() {
                    path.push_str(&format!("service={}&", query_value(&service)));
                }
                // A challenge may ask for several scopes at once.
                let scopes = wanted.split_whitespace().map(|scope| format!("scope={}", query_value(scope)));
                path.push_str(&scopes.collect::<Vec<_>>().join("&"));
                headers.extend(auth.as_ref().map(|auth| (AUTHORIZATION.to_string(), basic(auth))));
                (Method::GET, path, Bytes::new())
            }
        };
        let tls = host.tls.clone();
        self.phase = Phase::Token(TokenKey { realm, service, scope, auth });
        Step::Send(Box::new(Request { method, url: url.with_path(path), headers, body, tls, own }))
    }

    /// What these credentials do not open, others may.
    fn next_credentials(&mut self, now: Duration, why: String, tokens: &mut Tokens) -> Step {
        self.showing = Showing::Nothing;
        if self.credential + 1 < self.credentials.len() {
            self.credential += 1;
            return self.send(now, tokens);
        }
        self.next_host(Failure::Refused(why))
    }

    fn content(&mut self, status: u16, headers: &HeaderMap) -> Body {
        let text = |name: http::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let told = headers.get("docker-content-digest").and_then(|value| value.to_str().ok());
        let told = told.filter(|digest| valid_digest(digest)).map(str::to_string);
        let content_type = text(CONTENT_TYPE).unwrap_or_default().to_string();
        if let Some(coding) = text(CONTENT_ENCODING).filter(|coding| *coding != "identity") {
            let why = format!("it packs what it sends ({coding:?}) although nobody asked for it");
            return Body::Drop(self.next_host(Failure::Refused(why)));
        }
        let (position, size) = match &self.want {
            Want::Digest { .. } => {
                self.phase = Phase::Idle;
                return Body::Drop(Step::Done(Done::Digest(told)));
            }
            Want::Manifest { .. } => {
                self.phase = Phase::Document { content_type, told };
                return Body::Collect { limit: limits::MANIFEST_BYTES };
            }
            Want::Blob { size, .. } => (self.position, *size),
        };
        let length = text(CONTENT_LENGTH).and_then(|value| value.parse::<u64>().ok());
        let (skip, expected) = match (status, text(CONTENT_RANGE).and_then(range)) {
            (206, Some((start, total))) if start == position && total.is_none_or(|total| total == size) => {
                (0, size - position)
            }
            (206, _) => {
                let why = format!("it sent another part than that from byte {position} of {size} on");
                return Body::Drop(self.wrong(why));
            }
            // It does not know ranges: what is here already comes again.
            _ => (position, size),
        };
        if let Some(length) = length.filter(|length| *length != expected) {
            return Body::Drop(self.wrong(format!("it would send {length} bytes instead of {expected}")));
        }
        self.phase = Phase::Coming { skip };
        Body::Stream
    }

    /// A body was read whole, or as much of it as was asked for.
    pub fn collected(&mut self, now: Duration, bytes: Bytes, tokens: &mut Tokens) -> Step {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Token(key) => match tokens.take(key.clone(), &bytes, now) {
                Ok(text) => {
                    self.showing = Showing::Token { key, text, fresh: true };
                    self.send(now, tokens)
                }
                Err(why) => self.next_host(Failure::Refused(why)),
            },
            Phase::Explained { status, redirected, retry_after } => {
                self.explained(now, status, redirected, retry_after, &bytes, tokens)
            }
            Phase::Document { content_type, told } => self.document(content_type, told, bytes),
            _ => self.again("it sent what was not asked for".into(), None),
        }
    }

    fn document(&mut self, content_type: String, told: Option<String>, bytes: Bytes) -> Step {
        let asked = match &self.want {
            Want::Manifest { reference } if valid_digest(reference) => Some(reference.clone()),
            _ => told,
        };
        let found = match asked.as_deref().and_then(Hasher::new) {
            Some(mut hasher) => {
                hasher.update(&bytes);
                hasher.finish()
            }
            None => sha256(&bytes),
        };
        if let Some(asked) = asked.filter(|asked| *asked != found) {
            return self.wrong(format!("its manifest {asked} has the digest {found}"));
        }
        Step::Done(Done::Manifest { content_type, digest: found, bytes })
    }

    /// An error, with what its body says.
    fn explained(
        &mut self,
        now: Duration,
        status: u16,
        redirected: bool,
        retry_after: Option<Duration>,
        body: &[u8],
        tokens: &mut Tokens,
    ) -> Step {
        let text = format!("it answered {status}{}", told(body));
        match status {
            408 | 425 | 429 | 500.. => self.again(text, retry_after),
            // The address that it led to may have been good for a time only.
            _ if redirected => self.again(text, None),
            401 | 403 => {
                // Some answer so instead of a challenge.
                if self.showing == Showing::Nothing && self.credentials().is_some() && status == 403 {
                    tokens.note(&self.place(), Challenge::Basic);
                    self.showing = Showing::Password;
                    return self.send(now, tokens);
                }
                self.next_credentials(now, text, tokens)
            }
            404 => match &self.want {
                Want::Blob { digest, .. } => self.next_host(Failure::Refused(format!("{digest}: not found"))),
                Want::Digest { tag: reference } | Want::Manifest { reference } => {
                    let sign = if valid_digest(reference) { '@' } else { ':' };
                    let name = format!("{}/{}{sign}{reference}", self.registry, self.repository);
                    self.next_host(Failure::Refused(format!("{name}: not found")))
                }
            },
            _ => self.next_host(Failure::Refused(text)),
        }
    }

    /// The next bytes of a blob; what of them is to be passed on.
    ///
    /// # Errors
    /// What to do instead of reading on.
    pub fn piece(&mut self, mut bytes: Bytes) -> Result<Bytes, Step> {
        let (Phase::Coming { skip }, Want::Blob { size, .. }) = (&mut self.phase, &self.want) else {
            return Err(self.again("it sent what was not asked for".into(), None));
        };
        let unwanted = usize::try_from(*skip).unwrap_or(usize::MAX).min(bytes.len());
        let _ = bytes.split_to(unwanted);
        *skip -= unwanted as u64;
        if bytes.len() as u64 > size - self.position {
            let why = format!("it sent more than the {size} bytes that there are");
            return Err(self.wrong(why));
        }
        self.position += bytes.len() as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes);
        }
        Ok(bytes)
    }

    /// The body of a blob came to its end.
    pub fn ended(&mut self) -> Step {
        let Want::Blob { size, .. } = self.want else { return self.again("it ended".into(), None) };
        if self.position < size {
            return self.again(format!("it stopped after {} of {size} bytes", self.position), None);
        }
        self.whole()
    }

    /// All bytes are here.
    fn whole(&mut self) -> Step {
        self.phase = Phase::Idle;
        let (Some(hasher), Want::Blob { digest, .. }) = (self.hasher.take(), &self.want) else {
            return Step::Done(Done::Blob);
        };
        let found = hasher.finish();
        if found == *digest {
            return Step::Done(Done::Blob);
        }
        let reason = format!("{}: its {digest} has the digest {found}", self.host().base.authority());
        // It was passed on already: whoever took it has to begin anew.
        Step::Fail(Failure::Content { reason, host: self.host().base.clone() })
    }

    /// The connection, the answer or its body failed.
    pub fn broken(&mut self, why: String) -> Step {
        self.again(why, None)
    }

    /// The host cannot be spoken with, and another try would not change that.
    pub fn hopeless(&mut self, why: String) -> Step {
        self.next_host(Failure::Unreachable(why))
    }

    /// The same host once more, after a while, or the next one.
    fn again(&mut self, why: String, wait: Option<Duration>) -> Step {
        self.phase = Phase::Idle;
        if self.position >= self.marked.saturating_add(limits::PROGRESS_BYTES) {
            self.backoff.reset();
        }
        self.marked = self.position;
        let patient = self.at + 1 == self.hosts.len() || self.position > self.arrived;
        if !patient || self.backoff.failures() + 1 >= limits::TRIES {
            return self.next_host(Failure::Unreachable(why));
        }
        let own = self.backoff.fail();
        Step::Wait(wait.map_or(own, |wait| wait.clamp(own, limits::RETRY_AFTER)))
    }

    /// A host that sends something else is not asked again.
    fn wrong(&mut self, reason: String) -> Step {
        let host = self.host().base.clone();
        self.next_host(Failure::Content { reason, host })
    }

    fn next_host(&mut self, failure: Failure) -> Step {
        self.phase = Phase::Idle;
        self.said.push(format!("{}: {failure}", self.host().base.authority()));
        if matches!(failure, Failure::Unreachable(_)) && self.host().mirror {
            self.unreachable.push(self.host().base.clone());
        }
        if self.at + 1 < self.hosts.len() {
            self.at += 1;
            self.arrive();
            return Step::Wait(Duration::ZERO);
        }
        let all = self.said.join("; ");
        Step::Fail(match failure {
            Failure::Unreachable(_) => Failure::Unreachable(all),
            Failure::Refused(_) => Failure::Refused(all),
            Failure::Content { host, .. } => Failure::Content { reason: all, host },
        })
    }
}

fn basic(auth: &PullAuth) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", auth.username, auth.password)))
}

/// Start and, where it is told, total of a `Content-Range`.
fn range(value: &str) -> Option<(u64, Option<u64>)> {
    let (part, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let start = part.split_once('-')?.0.trim().parse().ok()?;
    Some((start, total.trim().parse().ok()))
}

/// What a registry says of its error (distribution specification, error codes), bounded.
fn told(body: &[u8]) -> String {
    let document: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let errors = document.get("errors").and_then(serde_json::Value::as_array);
    let text = |error: &serde_json::Value| {
        let part = |key: &str| error.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_string();
        format!("{} {}", part("code"), part("message")).trim().to_string()
    };
    let all: Vec<String> = errors.into_iter().flatten().map(text).filter(|text| !text.is_empty()).collect();
    let text: String = all.join(", ").chars().filter(|c| !c.is_control()).take(limits::ERROR_TEXT).collect();
    if text.is_empty() { text } else { format!(" ({text})") }
}

#[cfg(test)]
mod tests;

use super::*;
use crate::hosts;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;

/// What a server does with a request.
#[derive(Clone, Debug)]
enum Answer {
    /// Nobody is there.
    Down,
    /// Status, headers, body, and after how many bytes the body breaks off.
    Says(u16, Vec<(&'static str, String)>, Vec<u8>, Option<usize>),
}

fn says(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Answer {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_string())).collect();
    Answer::Says(status, headers, body.to_vec(), None)
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

struct Run {
    outcome: Result<Done, Failure>,
    bytes: Vec<u8>,
    waited: Duration,
    asked: Vec<String>,
}

/// Drives an exchange against a server until it ends.
fn run(mut exchange: Exchange, tokens: &mut Tokens, mut server: impl FnMut(&Request) -> Answer) -> Run {
    let mut run = Run { outcome: Ok(Done::Blob), bytes: Vec::new(), waited: Duration::ZERO, asked: Vec::new() };
    let mut step = exchange.send(run.waited, tokens);
    for _ in 0..2_000 {
        step = match step {
            Step::Done(done) => {
                run.outcome = Ok(done);
                return run;
            }
            Step::Fail(failure) => {
                run.outcome = Err(failure);
                return run;
            }
            Step::Wait(wait) => {
                run.waited += wait;
                exchange.send(run.waited, tokens)
            }
            Step::Send(request) => {
                run.asked.push(format!("{} {}", request.method, request.url));
                match server(&request) {
                    Answer::Down => exchange.broken("connection refused".into()),
                    Answer::Says(status, headers, body, cut) => {
                        let mut map = HeaderMap::new();
                        for (name, value) in headers {
                            map.append(HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap());
                        }
                        let sent = &body[..cut.unwrap_or(body.len()).min(body.len())];
                        match exchange.response(run.waited, status, &map, tokens) {
                            Body::Drop(step) => step,
                            Body::Explain { limit } => {
                                let said = Bytes::copy_from_slice(&sent[..sent.len().min(limit)]);
                                exchange.collected(run.waited, said, tokens)
                            }
                            Body::Collect { limit } if sent.len() > limit => exchange.broken("too long".into()),
                            Body::Collect { .. } if cut.is_some() => exchange.broken("cut".into()),
                            Body::Collect { .. } => {
                                exchange.collected(run.waited, Bytes::copy_from_slice(sent), tokens)
                            }
                            Body::Stream => stream(&mut exchange, &mut run.bytes, sent, cut.is_some()),
                        }
                    }
                }
            }
        };
    }
    panic!("it never ends: {:?}", &run.asked[run.asked.len() - 5..]);
}

fn stream(exchange: &mut Exchange, bytes: &mut Vec<u8>, sent: &[u8], cut: bool) -> Step {
    for piece in sent.chunks(1000) {
        match exchange.piece(Bytes::copy_from_slice(piece)) {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(step) => return step,
        }
    }
    if cut { exchange.broken("cut".into()) } else { exchange.ended() }
}

const REGISTRY: &str = "r.example";

fn exchange(want: Want, toml: &str, keyring: &Keyring) -> Exchange {
    let hosts = hosts::read(toml, Path::new("/"), REGISTRY).unwrap();
    Exchange::new(want, REGISTRY, "a/b", &hosts, keyring).unwrap()
}

fn manifest() -> Want {
    Want::Manifest { reference: "1".into() }
}

fn blob(content: &[u8], offset: u64) -> Want {
    Want::Blob { digest: sha256(content), size: content.len() as u64, offset }
}

fn keyring(auths: serde_json::Value) -> Keyring {
    let mut ring = Keyring::default();
    ring.add_config_json(json!({ "auths": auths }).to_string().as_bytes()).unwrap();
    ring
}

fn user(name: &str) -> serde_json::Value {
    json!({"username": name, "password": "p"})
}

/// As a registry with ranges would.
fn serve(content: &[u8], request: &Request) -> Answer {
    let start =
        header(request, "range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    match start {
        Some(start) => {
            let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
            says(206, &[("content-range", &range)], &content[start..])
        }
        None => says(200, &[("content-length", &content.len().to_string())], content),
    }
}

#[test]
fn a_token_is_fetched_once_and_kept() {
    let mut tokens = Tokens::default();
    let ring = keyring(json!({REGISTRY: user("ann")}));
    let challenge = "Bearer realm=\"https://auth.example/t?x=1\",service=\"r s\",scope=\"repository:a/b:pull\"";
    let mut server = |request: &Request| match (request.url.host.as_str(), header(request, "authorization")) {
        ("auth.example", auth) => {
            assert_eq!(request.url.path, "/t?x=1&service=r%20s&scope=repository%3Aa%2Fb%3Apull");
            assert_eq!(auth, Some("Basic YW5uOnA="));
            assert!(!request.own);
            says(200, &[], br#"{"token": "T", "expires_in": 300}"#)
        }
        (_, Some("Bearer T")) => says(200, &[("content-type", "application/json")], b"{}"),
        _ => says(401, &[("www-authenticate", challenge)], b""),
    };
    let first = run(exchange(manifest(), "", &ring), &mut tokens, &mut server);
    assert!(matches!(first.outcome, Ok(Done::Manifest { .. })), "{:?}", first.outcome);
    let at = "GET https://r.example/v2/a/b/manifests/1";
    assert_eq!(first.asked, [at, "GET https://auth.example/t", at]);
    let second = run(exchange(manifest(), "", &ring), &mut tokens, &mut server);
    assert_eq!(second.asked, [at]);
    // Another user does not get that token.
    let ring = keyring(json!({REGISTRY: user("bob")}));
    let other = run(exchange(manifest(), "", &ring), &mut tokens, |request| {
        assert_ne!(header(request, "authorization"), Some("Bearer T"));
        says(404, &[], b"")
    });
    assert_eq!(other.outcome, Err(Failure::Refused("r.example: r.example/a/b:1: not found".into())));
}

#[test]
fn an_identity_token_is_shown_to_the_token_server_alone() {
    let ring = keyring(json!({REGISTRY: {"identitytoken": "id/1"}}));
    let challenge = "Bearer realm=\"https://auth.example/t\",service=\"r s\",scope=\"repository:a/b:pull\"";
    let run = run(exchange(manifest(), "", &ring), &mut Tokens::default(), |request| {
        match (request.url.host.as_str(), header(request, "authorization")) {
            ("auth.example", auth) => {
                let form = "grant_type=refresh_token&client_id=holdfast&service=r%20s&scope=repository%3Aa%2Fb%3Apull\
                            &refresh_token=id%2F1";
                assert_eq!((&request.method, request.url.path.as_str(), auth), (&Method::POST, "/t", None));
                assert_eq!(request.body, form);
                assert_eq!(header(request, "content-type"), Some("application/x-www-form-urlencoded"));
                says(200, &[], br#"{"access_token": "T"}"#)
            }
            (_, Some("Bearer T")) => says(200, &[], b"{}"),
            (_, shown) => {
                assert_eq!(shown, None);
                says(401, &[("www-authenticate", challenge)], b"")
            }
        }
    });
    assert!(matches!(run.outcome, Ok(Done::Manifest { .. })), "{:?}", run.outcome);
}

#[test]
fn a_token_that_is_refused_is_fetched_anew_once() {
    let mut tokens = Tokens::default();
    let challenge = "Bearer realm=\"https://auth.example/t\"";
    let mut made = 0;
    for good in 1..3 {
        let done = run(exchange(manifest(), "", &Keyring::default()), &mut tokens, |request| {
            let shown = header(request, "authorization").map(str::to_string);
            match request.url.host.as_str() {
                "auth.example" => {
                    made += 1;
                    says(200, &[], format!("{{\"token\": \"T{made}\"}}").as_bytes())
                }
                _ if shown == Some(format!("Bearer T{good}")) => says(200, &[], b"{}"),
                _ => says(401, &[("www-authenticate", challenge)], b""),
            }
        });
        assert!(done.outcome.is_ok(), "{:?}", done.outcome);
    }
    assert_eq!(made, 2);
    // Nothing that it makes is ever good: it is not asked for ever.
    let run =
        run(exchange(manifest(), "", &Keyring::default()), &mut tokens, |request| match request.url.host.as_str() {
            "auth.example" => says(200, &[], b"{\"token\": \"bad\"}"),
            _ => says(401, &[("www-authenticate", challenge)], b""),
        });
    assert!(matches!(run.outcome, Err(Failure::Refused(_))), "{:?}", run.outcome);
    assert!(run.asked.len() <= 4, "{:?}", run.asked);
}

#[test]
fn each_of_several_credentials_is_tried() {
    let auths = json!({"r.example/a/b": user("one"), "r.example/a": user("two"), "r.example": user("three")});
    let mut seen = Vec::new();
    let run = run(exchange(manifest(), "", &keyring(auths)), &mut Tokens::default(), |request| {
        match header(request, "authorization") {
            Some(auth) => seen.push(auth.to_string()),
            None => return says(401, &[("www-authenticate", "Basic realm=\"x\"")], b""),
        }
        if seen.len() < 3 {
            return says(401, &[("www-authenticate", "Basic realm=\"x\"")], b"");
        }
        says(200, &[], b"{}")
    });
    assert!(run.outcome.is_ok(), "{:?}", run.outcome);
    let sent: Vec<String> =
        ["one", "two", "three"].map(|name| basic(&PullAuth { username: name.into(), password: "p".into() })).into();
    assert_eq!(seen, sent);
}

#[test]
fn nobody_else_is_shown_credentials() {
    let content = b"some bytes";
    let toml = "server = \"https://r.example\"\n[host.\"https://mirror.example\"]\n[host.\"https://mirror.example\".header]\n\
                x-key = \"k\"\n";
    let ring = keyring(json!({REGISTRY: user("ann")}));
    let mut shown = BTreeSet::new();
    let run = run(exchange(blob(content, 0), toml, &ring), &mut Tokens::default(), |request| {
        let host = request.url.host.clone();
        if header(request, "authorization").is_some() {
            shown.insert(host.clone());
        }
        assert_eq!(header(request, "x-key").is_some(), host == "mirror.example", "{request:?}");
        match host.as_str() {
            "mirror.example" => {
                assert!(request.url.path.ends_with("?ns=r.example"));
                says(401, &[("www-authenticate", "Basic")], b"")
            }
            "r.example" if header(request, "authorization").is_none() => {
                says(401, &[("www-authenticate", "Basic")], b"")
            }
            "r.example" => says(307, &[("location", "https://cdn.example/x?sig=1")], b""),
            _ => serve(content, request),
        }
    });
    assert_eq!(run.outcome, Ok(Done::Blob));
    assert_eq!(run.bytes, content);
    assert_eq!(shown.into_iter().collect::<Vec<_>>(), ["r.example"]);
}

#[test]
fn tls_is_not_left() {
    let ring = keyring(json!({REGISTRY: user("ann")}));
    for (answer, said) in [
        (says(302, &[("location", "http://cdn.example/x")], b""), "redirects from TLS"),
        (says(401, &[("www-authenticate", "Bearer realm=\"http://auth.example/\"")], b""), "in the clear"),
    ] {
        let run = run(exchange(manifest(), "", &ring), &mut Tokens::default(), |request| {
            assert!(request.url.https, "{request:?}");
            answer.clone()
        });
        assert!(run.outcome.unwrap_err().to_string().contains(said));
    }
    let run = run(exchange(manifest(), "", &ring), &mut Tokens::default(), |request| {
        says(302, &[("location", &format!("{}x", request.url.path))], b"")
    });
    assert!(run.outcome.unwrap_err().to_string().contains("more than 10 times"));
}

#[test]
fn what_the_registry_says_is_told() {
    let body = br#"{"errors": [{"code": "DENIED", "message": "requested access\nis denied"}]}"#;
    let refused = run(exchange(manifest(), "", &Keyring::default()), &mut Tokens::default(), |_| says(403, &[], body));
    let said = "r.example: it answered 403 (DENIED requested accessis denied)";
    assert_eq!(refused.outcome, Err(Failure::Refused(said.into())));
    let down = run(exchange(manifest(), "", &Keyring::default()), &mut Tokens::default(), |_| Answer::Down);
    assert_eq!(down.outcome, Err(Failure::Unreachable("r.example: connection refused".into())));
    assert_eq!(down.asked.len(), limits::TRIES as usize);
    // What the registry itself says counts, not a mirror that is down.
    let toml = "[host.\"https://m.example\"]\n";
    let both = run(exchange(manifest(), toml, &Keyring::default()), &mut Tokens::default(), |request| {
        if request.url.host == "m.example" { Answer::Down } else { says(404, &[], b"") }
    });
    assert_eq!(both.asked.len(), 2, "a mirror that is down is not waited for");
    let said = "m.example: connection refused; r.example: r.example/a/b:1: not found";
    assert_eq!(both.outcome, Err(Failure::Refused(said.into())));
}

#[test]
fn a_mirror_without_resolve_is_asked_by_digest_alone() {
    let toml = "[host.\"https://m.example\"]\ncapabilities = [\"pull\"]\n";
    let by_tag =
        run(exchange(manifest(), toml, &Keyring::default()), &mut Tokens::default(), |_| says(200, &[], b"{}"));
    assert_eq!(by_tag.asked, ["GET https://r.example/v2/a/b/manifests/1"]);
    let want = Want::Manifest { reference: sha256(b"{}") };
    let by_digest = run(exchange(want, toml, &Keyring::default()), &mut Tokens::default(), |_| says(200, &[], b"{}"));
    assert!(by_digest.asked[0].starts_with("GET https://m.example/"), "{:?}", by_digest.asked);
    let hosts = hosts::read("capabilities = [\"push\"]", Path::new("/"), REGISTRY).unwrap();
    let none = Exchange::new(manifest(), REGISTRY, "a/b", &hosts, &Keyring::default()).err().unwrap();
    assert!(none.to_string().contains("no host of r.example may be asked"));
}

#[test]
fn a_registry_may_ask_for_patience() {
    let mut answers = 0;
    let run = run(exchange(manifest(), "", &Keyring::default()), &mut Tokens::default(), |_| {
        answers += 1;
        match answers {
            1 => says(429, &[("retry-after", "3")], b""),
            2 => says(503, &[("retry-after", "100000")], b""),
            _ => says(200, &[], b"{}"),
        }
    });
    assert!(run.outcome.is_ok());
    assert_eq!(run.waited, Duration::from_secs(3) + limits::RETRY_AFTER);
}

#[test]
fn wrong_content_is_not_taken_and_the_next_host_is_asked() {
    let content = vec![7; 5000];
    let toml = "[host.\"https://m.example\"]\n";
    let wrong = |answer: fn(&[u8]) -> Answer| {
        run(exchange(blob(&content, 0), toml, &Keyring::default()), &mut Tokens::default(), |request| {
            if request.url.host == "m.example" { answer(&content) } else { serve(&content, request) }
        })
    };
    // Told by the head: nothing was passed on, the registry is asked.
    for answer in [
        |content: &[u8]| says(200, &[("content-length", "4999")], &content[1..]),
        |content: &[u8]| says(206, &[("content-range", "bytes 1-4999/5000")], &content[1..]),
        |content: &[u8]| says(206, &[("content-range", "bytes 0-4998/4999")], content),
        |content: &[u8]| says(206, &[], content),
        |content: &[u8]| says(200, &[("content-encoding", "gzip")], content),
    ] {
        let done = wrong(answer);
        assert_eq!((done.outcome, done.bytes == content), (Ok(Done::Blob), true));
    }
    // Passed on already: the end tells, and who it was.
    let lied = wrong(|content| says(200, &[], &vec![8; content.len()]));
    match lied.outcome {
        Err(Failure::Content { host, reason }) => {
            assert_eq!(host.host, "m.example");
            assert!(reason.contains("has the digest"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    // A manifest that is not what was asked for.
    let want = Want::Manifest { reference: sha256(b"right") };
    let run = run(exchange(want, toml, &Keyring::default()), &mut Tokens::default(), |request| {
        says(200, &[], if request.url.host == "m.example" { b"wrong" } else { b"right" })
    });
    assert!(matches!(run.outcome, Ok(Done::Manifest { bytes, .. }) if bytes == "right"));
}

#[test]
fn an_address_that_is_good_for_a_time_only_is_asked_for_again() {
    let content = vec![1; 200_000];
    let mut signed = 0;
    let run = run(exchange(blob(&content, 0), "", &Keyring::default()), &mut Tokens::default(), |request| {
        if request.url.host == "r.example" {
            signed += 1;
            return says(307, &[("location", &format!("https://cdn.example/x?sig={signed}"))], b"");
        }
        match signed {
            1 => Answer::Says(200, Vec::new(), content.clone(), Some(150_000)),
            2 => says(403, &[], b"<Error>expired</Error>"),
            _ => serve(&content, request),
        }
    });
    assert_eq!((run.outcome, run.bytes == content, signed), (Ok(Done::Blob), true, 3));
}

/// What goes wrong with one answer.
#[derive(Clone, Debug)]
enum Fault {
    Down,
    Status(u16),
    Cut(usize),
    /// Ranges are not known.
    Whole,
    /// Another length is promised.
    Promise(i64),
    /// Bytes are other ones.
    Wrong,
    /// More comes than there is.
    More,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        2 => Just(Fault::Down),
        2 => prop::sample::select(vec![408u16, 429, 500, 502, 503, 504]).prop_map(Fault::Status),
        6 => (0usize..300_000).prop_map(Fault::Cut),
        2 => Just(Fault::Whole),
        1 => (-5i64..5).prop_map(Fault::Promise),
        1 => Just(Fault::Wrong),
        1 => Just(Fault::More),
    ]
}

fn faulty(content: &[u8], request: &Request, fault: &Fault) -> Answer {
    let Answer::Says(status, headers, body, _) = serve(content, request) else { return Answer::Down };
    match fault {
        Fault::Down => Answer::Down,
        Fault::Status(status) => says(*status, &[], b""),
        Fault::Cut(at) => Answer::Says(status, headers, body, Some(*at)),
        Fault::Whole => says(200, &[], content),
        Fault::Promise(by) => {
            let length = i64::try_from(body.len()).unwrap() + by;
            Answer::Says(status, vec![("content-length", length.max(0).to_string())], body, None)
        }
        Fault::Wrong => Answer::Says(status, headers, body.iter().map(|byte| byte ^ 1).collect(), None),
        Fault::More => Answer::Says(status, Vec::new(), [&body[..], b"more"].concat(), None),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever two hosts do: what is told to be whole is whole, and it ends.
    #[test]
    fn nothing_wrong_is_ever_whole(faults in prop::collection::vec(fault(), 0..24), size in 1usize..300_000) {
        let content: Vec<u8> = (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let toml = "[host.\"https://m.example\"]\n";
        let mut faults = faults.into_iter();
        let run = run(exchange(blob(&content, 0), toml, &Keyring::default()), &mut Tokens::default(), |request| {
            match faults.next() {
                Some(fault) => faulty(&content, request, &fault),
                None => serve(&content, request),
            }
        });
        if run.outcome.is_ok() {
            prop_assert!(run.bytes == content);
        }
    }

    /// A registry that only fails, and never lies, is got over as long as it does not fail too often in a row.
    #[test]
    fn failures_are_got_over(
        faults in prop::collection::vec(prop_oneof![Just(Fault::Down), Just(Fault::Status(503)), Just(Fault::Whole),
            (0usize..300_000).prop_map(Fault::Cut)], 0..(limits::TRIES as usize - 1)),
        size in 1usize..300_000,
        from in 0.0f64..1.0,
    ) {
        let content: Vec<u8> = (0..size).map(|at| u8::try_from(at % 249).unwrap()).collect();
        let offset = (size as f64 * from) as usize;
        let mut faults = faults.into_iter();
        let want = blob(&content, offset as u64);
        let run = run(exchange(want, "", &Keyring::default()), &mut Tokens::default(), |request| {
            match faults.next() {
                Some(fault) => faulty(&content, request, &fault),
                None => serve(&content, request),
            }
        });
        prop_assert_eq!(run.outcome, Ok(Done::Blob));
        prop_assert!(run.bytes == content[offset..]);
    }
}

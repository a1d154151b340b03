//! Probes over the network.

use async_trait::async_trait;
use holdfast_node::Prober;
use holdfast_node::parts::HttpProbe;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes of a response's head that are read in search of the status line.
const MAX_HEAD: u64 = 4096;

/// Probes from the node's own network.
pub(crate) struct NetProber;

#[async_trait]
impl Prober for NetProber {
    async fn http(&self, request: HttpProbe, timeout: Duration) -> Result<u16, String> {
        if request.scheme != "http" {
            return Err("not implemented: probes over https".into());
        }
        match tokio::time::timeout(timeout, get(&request)).await {
            Ok(result) => result.map_err(|err| err.to_string()),
            Err(_) => Err("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".into()),
        }
    }

    async fn tcp(&self, host: &str, port: u16, timeout: Duration) -> Result<(), String> {
        match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(err)) => Err(err.to_string()),
            Err(_) => Err("i/o timeout".into()),
        }
    }
}

/// One request on a connection of its own (RFC 9112): only the status line of the answer counts.
async fn get(request: &HttpProbe) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect((request.host.as_str(), request.port)).await?;
    let clean = |text: &str| text.replace(['\r', '\n'], "");
    let mut head = format!("GET {} HTTP/1.1\r\n", clean(&request.path).replace(' ', "%20"));
    let has = |name: &str| request.headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    if !has("host") {
        head.push_str(&format!("Host: {}:{}\r\n", request.host, request.port));
    }
    if !has("user-agent") {
        head.push_str("User-Agent: kube-probe/1.36\r\n");
    }
    for (name, value) in &request.headers {
        head.push_str(&format!("{}: {}\r\n", clean(name), clean(value)));
    }
    head.push_str("Accept: */*\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    let mut limited = stream.take(MAX_HEAD);
    loop {
        let mut buffer = [0; 512];
        let count = limited.read(&mut buffer).await?;
        answer.extend_from_slice(&buffer[..count]);
        if count == 0 || answer.contains(&b'\n') {
            break;
        }
    }
    let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let code =
        line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).and_then(|code| code.trim().parse().ok());
    code.ok_or_else(|| std::io::Error::other("the answer is no HTTP response"))
}

//! The parts of Tor's control protocol that are needed to find the SOCKS port (control-spec.txt).

use std::net::SocketAddr;
use std::path::Path;

use data_encoding::HEXLOWER;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use super::super::{Duplex, tcp};
use super::{ControlPort, LOCAL_TIMEOUT, TorError};

/// A connection to a control port.
pub(super) struct Control {
    stream: BufReader<Box<dyn Duplex>>,
}

impl Control {
    pub(super) async fn connect(port: &ControlPort) -> Result<Self, TorError> {
        let silent = || TorError::ControlPortSilent(port.clone());
        let opened = timeout(LOCAL_TIMEOUT, open(port)).await.map_err(|_| silent())?;
        Ok(Self { stream: BufReader::new(opened.ok_or_else(silent)?) })
    }

    /// Authenticates: without a secret, or with the cookie in a file of Tor.
    pub(super) async fn authenticate(&mut self) -> Result<(), TorError> {
        let info = self.ask("PROTOCOLINFO 1").await?;
        let methods = info.iter().find_map(|line| line.strip_prefix("AUTH METHODS="));
        let methods = methods.ok_or(TorError::NotTor)?;
        let (methods, rest) = methods.split_once(' ').unwrap_or((methods, ""));
        let mut methods = methods.split(',');
        let proof = if methods.clone().any(|method| method == "NULL") {
            String::new()
        } else if methods.any(|method| method == "COOKIE") {
            let path = rest.strip_prefix("COOKIEFILE=").and_then(unquote);
            let cookie = read_cookie(Path::new(&path.ok_or(TorError::NotTor)?)).await?;
            format!(" {}", HEXLOWER.encode(&cookie))
        } else {
            return Err(TorError::AuthenticationFailed);
        };
        self.ask(&format!("AUTHENTICATE{proof}")).await.map(drop)
    }

    /// The SOCKS port of Tor over TCP.
    pub(super) async fn socks_port(&mut self) -> Result<SocketAddr, TorError> {
        let lines = self.ask("GETINFO net/listeners/socks").await?;
        let value = lines.iter().find_map(|line| line.strip_prefix("net/listeners/socks="));
        let listeners = value.ok_or(TorError::NotTor)?.split(' ');
        let mut addresses = listeners.filter_map(|text| text.trim_matches('"').parse().ok());
        addresses.next().ok_or(TorError::NoSocksPort)
    }

    /// Tor's progress in connecting to its network, in percent.
    pub(super) async fn progress(&mut self) -> Result<u8, TorError> {
        let lines = self.ask("GETINFO status/bootstrap-phase").await?;
        let words = lines.iter().flat_map(|line| line.split(' '));
        let progress = words.filter_map(|word| word.strip_prefix("PROGRESS=")).next();
        progress.and_then(|percent| percent.parse().ok()).ok_or(TorError::NotTor)
    }

    /// Sends a command and reads the lines of the reply, without their codes.
    async fn ask(&mut self, question: &str) -> Result<Vec<String>, TorError> {
        let answer = timeout(LOCAL_TIMEOUT, self.converse(question)).await;
        answer.map_err(|_| TorError::NotTor)?
    }

    async fn converse(&mut self, question: &str) -> Result<Vec<String>, TorError> {
        let question = format!("{question}\r\n");
        let written = self.stream.write_all(question.as_bytes()).await;
        written.map_err(|_| TorError::NotTor)?;
        let mut lines = Vec::new();
        while lines.len() < MAX_LINES {
            let mut line = String::new();
            let mut limited = (&mut self.stream).take(MAX_LINE);
            limited.read_line(&mut line).await.map_err(|_| TorError::NotTor)?;
            let (code, rest) = line.split_at_checked(3).ok_or(TorError::NotTor)?;
            let last = rest.starts_with(' ');
            let text = rest.get(1..).unwrap_or_default().trim_end();
            match code {
                "250" => lines.push(text.to_owned()),
                "515" => return Err(TorError::AuthenticationFailed),
                _ => return Err(TorError::NotTor),
            }
            if last {
                return Ok(lines);
            }
        }
        Err(TorError::NotTor)
    }
}

async fn open(port: &ControlPort) -> Option<Box<dyn Duplex>> {
    match port {
        ControlPort::Tcp { host, port } => Some(Box::new(tcp::connect(host, *port).await.ok()?)),
        #[cfg(unix)]
        ControlPort::Unix(path) => {
            Some(Box::new(tokio::net::UnixStream::connect(path).await.ok()?))
        }
        #[cfg(not(unix))]
        ControlPort::Unix(_) => None,
    }
}

/// Reads the cookie. A file of the wrong length is never sent: the control port names the file, and
/// could name any file.
async fn read_cookie(path: &Path) -> Result<[u8; 32], TorError> {
    let file = tokio::fs::File::open(path).await.map_err(|_| TorError::AuthenticationFailed)?;
    let mut cookie = Vec::new();
    file.take(33).read_to_end(&mut cookie).await.map_err(|_| TorError::AuthenticationFailed)?;
    cookie.try_into().map_err(|_| TorError::AuthenticationFailed)
}

/// Parses a quoted string: quotes around it, and backslashes before special characters.
fn unquote(text: &str) -> Option<String> {
    let mut rest = text.strip_prefix('"')?.chars();
    let mut plain = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(plain),
            '\\' => plain.push(rest.next()?),
            c => plain.push(c),
        }
    }
}

/// Maximum length of a line in bytes.
const MAX_LINE: u64 = 4 << 10;

/// Maximum number of lines in one reply.
const MAX_LINES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// Queries a Tor that sends these replies to any commands.
    async fn talk(answers: &[&str]) -> Result<SocketAddr, TorError> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let serve = async {
            let mut stream = BufReader::new(theirs);
            for answer in answers {
                stream.read_line(&mut String::new()).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let ask = async {
            let mut control = Control { stream: BufReader::new(Box::new(ours)) };
            control.authenticate().await?;
            control.socks_port().await
        };
        tokio::join!(serve, ask).1
    }

    const OPEN: &str = "250-PROTOCOLINFO 1\r\n250-AUTH METHODS=NULL\r\n250 OK\r\n";

    #[tokio::test]
    async fn the_first_socks_port_on_tcp_is_taken() {
        let listeners =
            "250-net/listeners/socks=\"unix:/run/socks\" \"127.0.0.1:9050\"\r\n250 OK\r\n";
        let port = talk(&[OPEN, "250 OK\r\n", listeners]).await;
        assert_eq!(port, Ok("127.0.0.1:9050".parse().unwrap()));
    }

    #[tokio::test]
    async fn authentication_errors_and_non_tor_servers_are_distinguished() {
        let password = "250-PROTOCOLINFO 1\r\n250-AUTH METHODS=HASHEDPASSWORD\r\n250 OK\r\n";
        assert_eq!(talk(&[password]).await, Err(TorError::AuthenticationFailed));
        let cookie =
            "250-AUTH METHODS=COOKIE,SAFECOOKIE COOKIEFILE=\"/no/such \\\"file\\\"\"\r\n250 OK\r\n";
        assert_eq!(talk(&[cookie]).await, Err(TorError::AuthenticationFailed));
        assert_eq!(talk(&[OPEN, "515 no\r\n"]).await, Err(TorError::AuthenticationFailed));
        assert_eq!(talk(&["HTTP/1.1 400 Bad Request\r\n"]).await, Err(TorError::NotTor));
        assert_eq!(
            talk(&[OPEN, "250 OK\r\n", "250-net/listeners/socks=\r\n250 OK\r\n"]).await,
            Err(TorError::NoSocksPort)
        );
        assert_eq!(talk(&[]).await, Err(TorError::NotTor));
    }

    #[test]
    fn quoted_paths_are_taken_apart() {
        assert_eq!(unquote(r#""/a \"b\" \\c" more"#).as_deref(), Some(r#"/a "b" \c"#));
        assert_eq!(unquote("no quotes"), None);
        assert_eq!(unquote("\"no end"), None);
    }
}

//! The notation of services and listeners: fowl's, and ssh's for the same.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use wormhole::forward::{Service, ServiceName};

use crate::failure::Failure;
use crate::printable;

/// A listener for a service of the other side.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ListenSpec {
    pub(super) name: ServiceName,
    /// Port 0: the system chooses.
    pub(super) address: SocketAddr,
    /// The port to which the other side shall connect.
    pub(super) connect_port: Option<u16>,
}

/// Parses `NAME:PORT[:listen=PORT][:address=HOST]`.
///
/// # Errors
/// It is malformed.
pub(super) fn service(text: &str) -> Result<Service, Failure> {
    parse_service(text).map_err(|why| malformed("--service", text, &why, SERVICE))
}

fn parse_service(text: &str) -> Result<Service, String> {
    let [name, rest @ ..] = &fields(text)?[..] else { return Err(NO_NAME.into()) };
    let (mut service_port, mut listen_port, mut host) = (None, None, None);
    for field in rest {
        match field.split_once('=') {
            None => set(&mut service_port, port(field)?)?,
            Some(("listen", value)) => set(&mut listen_port, port(value)?)?,
            Some(("address", value)) => set(&mut host, self::host(value)?)?,
            Some((key, _)) => return Err(format!("there is no option {key}")),
        }
    }
    let port = service_port.ok_or("the port of the service is missing")?;
    let mut service = Service::new(self::name(name)?, port);
    service.listen_port = listen_port;
    service.host = host.unwrap_or(service.host);
    Ok(service)
}

/// Parses `NAME[:PORT][:bind=IP][:remote-connect=PORT]`.
///
/// # Errors
/// It is malformed.
pub(super) fn client(text: &str) -> Result<ListenSpec, Failure> {
    parse_client(text).map_err(|why| malformed("--client", text, &why, CLIENT))
}

fn parse_client(text: &str) -> Result<ListenSpec, String> {
    let [name, rest @ ..] = &fields(text)?[..] else { return Err(NO_NAME.into()) };
    let (mut listen_port, mut bind, mut connect_port) = (None, None, None);
    for field in rest {
        match field.split_once('=') {
            None => set(&mut listen_port, port(field)?)?,
            Some(("bind", value)) => set(&mut bind, address(value)?)?,
            Some(("remote-connect", value)) => set(&mut connect_port, port(value)?)?,
            Some((key, _)) => return Err(format!("there is no option {key}")),
        }
    }
    let address = SocketAddr::new(bind.unwrap_or(LOOPBACK), listen_port.unwrap_or(0));
    Ok(ListenSpec { name: self::name(name)?, address, connect_port })
}

/// Parses ssh's `[IP:]PORT:HOST:HOSTPORT`. The name is the listening port; the other side knows the host.
///
/// # Errors
/// It is malformed.
pub(super) fn local_forward(text: &str) -> Result<ListenSpec, Failure> {
    parse_local_forward(text).map_err(|why| malformed("-L", text, &why, LOCAL))
}

fn parse_local_forward(text: &str) -> Result<ListenSpec, String> {
    let fields = fields(text)?;
    let (bind, [listen_port, host, connect_port]) = match &fields[..] {
        [listen_port, host, port] => (None, [listen_port, host, port]),
        [bind, listen_port, host, port] => (Some(address(bind)?), [listen_port, host, port]),
        _ => return Err("it needs three parts, or four".into()),
    };
    self::host(host)?;
    let address = SocketAddr::new(bind.unwrap_or(LOOPBACK), port(listen_port)?);
    let connect_port = Some(port(connect_port)?);
    Ok(ListenSpec { name: name(listen_port)?, address, connect_port })
}

/// Parses ssh's `PORT:HOST:HOSTPORT`. The name is the listening port.
///
/// # Errors
/// It is malformed.
pub(super) fn remote_forward(text: &str) -> Result<Service, Failure> {
    parse_remote_forward(text).map_err(|why| malformed("-R", text, &why, REMOTE))
}

fn parse_remote_forward(text: &str) -> Result<Service, String> {
    let fields = fields(text)?;
    let [listen_port, host, connect_port] = &fields[..] else {
        return Err(
            "it needs three parts; the other side decides on which address it listens".into()
        );
    };
    let mut service = Service::new(name(listen_port)?, port(connect_port)?);
    service.listen_port = Some(port(listen_port)?);
    service.host = self::host(host)?;
    Ok(service)
}

/// Splits at colons, except in `[...]`.
fn fields(text: &str) -> Result<Vec<&str>, String> {
    let (mut fields, mut start, mut is_inside) = (Vec::new(), 0, false);
    for (place, character) in text.char_indices() {
        match character {
            '[' if !is_inside => is_inside = true,
            ']' if is_inside => is_inside = false,
            ':' if !is_inside => {
                fields.extend(text.get(start..place));
                start = place + 1;
            }
            _ => {}
        }
    }
    fields.extend(text.get(start..));
    if is_inside { Err("a bracket is not closed".into()) } else { Ok(fields) }
}

fn set<T>(place: &mut Option<T>, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err("a part stands twice".into()),
    }
}

fn name(text: &str) -> Result<ServiceName, String> {
    ServiceName::new(text).map_err(|error| error.to_string())
}

fn port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("{text:?} is not a port from 1 to 65535"))
}

fn address(text: &str) -> Result<IpAddr, String> {
    without_brackets(text).parse().map_err(|_| format!("{text:?} is not an IP address"))
}

fn host(text: &str) -> Result<String, String> {
    let host = without_brackets(text);
    let is_valid = !host.is_empty() && !host.chars().any(|c| c.is_whitespace() || c.is_control());
    if is_valid { Ok(host.to_owned()) } else { Err(format!("{text:?} is not a host")) }
}

/// An IPv6 address stands in brackets, because it has colons.
fn without_brackets(text: &str) -> &str {
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text)
}

fn malformed(option: &str, text: &str, why: &str, form: &str) -> Failure {
    let (text, why) = (printable::line(text), printable::line(why));
    Failure::usage(format!("{option} {text}: {why}")).hint(format!("write {option} {form}"))
}

/// Where listeners listen unless `bind=` is another address.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const NO_NAME: &str = "the name is missing";
const SERVICE: &str = "NAME:PORT, for example web:8080 or db:5432:address=192.0.2.7";
const CLIENT: &str = "NAME or NAME:PORT, for example web:9000 or web:9000:bind=[::1]";
const LOCAL: &str = "PORT:HOST:HOSTPORT, for example 9000:localhost:8080";
const REMOTE: &str = LOCAL;

#[cfg(test)]
mod tests {
    use super::*;

    fn listens(spec: &ListenSpec) -> (String, String, Option<u16>) {
        (spec.name.to_string(), spec.address.to_string(), spec.connect_port)
    }

    #[test]
    fn services_are_written_as_in_fowl() {
        let web = service("web:8080").unwrap();
        assert_eq!((web.name.as_str(), web.host.as_str(), web.port), ("web", "localhost", 8080));
        let db = service("db:address=[2001:db8::7]:listen=15432:5432").unwrap();
        assert_eq!((db.host.as_str(), db.port, db.listen_port), ("2001:db8::7", 5432, Some(15432)));
    }

    #[test]
    fn listeners_are_written_as_in_fowl() {
        let named = |text| listens(&client(text).unwrap());
        assert_eq!(named("web"), ("web".into(), "127.0.0.1:0".into(), None));
        assert_eq!(named("web:9000"), ("web".into(), "127.0.0.1:9000".into(), None));
        assert_eq!(
            named("web:9000:bind=[::1]:remote-connect=80"),
            ("web".into(), "[::1]:9000".into(), Some(80))
        );
    }

    #[test]
    fn both_sides_write_the_same_in_the_notation_of_ssh() {
        let text = "9000:localhost:8080";
        let (local, remote) = (local_forward(text).unwrap(), remote_forward(text).unwrap());
        assert_eq!(listens(&local), ("9000".into(), "127.0.0.1:9000".into(), Some(8080)));
        assert_eq!((remote.name, remote.port), (local.name, 8080));
        assert_eq!(remote.listen_port, Some(9000));
        let open = local_forward("0.0.0.0:9000:db.example:5432").unwrap();
        assert_eq!(open.address.to_string(), "0.0.0.0:9000");
    }

    #[test]
    fn malformed_values_are_explained() {
        for (failure, why) in [
            (service("web").unwrap_err(), "--service web: the port of the service is missing"),
            (service("web:0").unwrap_err(), "--service web:0: \"0\" is not a port from 1 to 65535"),
            (service("web:80:81").unwrap_err(), "--service web:80:81: a part stands twice"),
            (service("web:80:x=1").unwrap_err(), "--service web:80:x=1: there is no option x"),
            (
                client("web:bind=here").unwrap_err(),
                "--client web:bind=here: \"here\" is not an IP address",
            ),
            (
                client("web:bind=[::1").unwrap_err(),
                "--client web:bind=[::1: a bracket is not closed",
            ),
            (local_forward("9000").unwrap_err(), "-L 9000: it needs three parts, or four"),
            (
                remote_forward("0.0.0.0:9000:localhost:80").unwrap_err(),
                "-R 0.0.0.0:9000:localhost:80: it needs three parts; the other side decides on which address it listens",
            ),
        ] {
            assert_eq!(failure.to_string(), why);
        }
        assert!(client(":80").is_err() && service("").is_err());
    }
}

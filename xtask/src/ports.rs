//! The TCP port of a server.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

use anyhow::{Context, Result, bail};

/// The port to try first.
const DEFAULT: u16 = 5432;

/// A port that nothing listens on, at or after `from`.
pub fn free(from: u16) -> Result<u16> {
    (from..=u16::MAX)
        .find(|port| is_free(*port))
        .with_context(|| format!("no port from {from} on is free"))
}

/// Settles the port: the one asked for, else last time's, else one that is free.
pub fn choose(asked: Option<u16>, last: Option<u16>, running: bool) -> Result<u16> {
    if let (true, Some(last)) = (running, last) {
        if asked.is_some_and(|asked| asked != last) {
            bail!(
                "the server of this folder runs on port {last}, and another port would cut its \
                 connections: stop it first (./x down)"
            );
        }
        return Ok(last);
    }
    match (asked, last) {
        (Some(port), _) if is_free(port) => Ok(port),
        (Some(port), _) if listens(port) => {
            bail!("something else listens on port {port}: give another --port")
        }
        (Some(port), _) => bail!(
            "port {port} is taken by a connection, open or ended within the last minute: give \
             another --port, or wait"
        ),
        (None, Some(port)) if is_free(port) => Ok(port),
        (None, _) => free(DEFAULT),
    }
}

fn listens(port: u16) -> bool {
    let addresses = [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
    ];
    addresses
        .into_iter()
        .any(|address| TcpStream::connect((address, port)).is_ok())
}

/// Whether nothing has this port, on loopback.
pub fn is_free(port: u16) -> bool {
    [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
    ]
    .into_iter()
    .all(|address| match TcpListener::bind((address, port)) {
        Ok(_) => true,
        // A machine without IPv6 is no reason to refuse a port.
        Err(error) => error.kind() == ErrorKind::AddrNotAvailable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_asked_for_and_taken_is_an_error() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(choose(Some(port), None, false).is_err());
        assert_ne!(choose(None, Some(port), false).unwrap(), port);
        // A server of our own has taken it.
        assert_eq!(choose(None, Some(port), true).unwrap(), port);
        assert_eq!(choose(Some(port), Some(port), true).unwrap(), port);
        // It has connections.
        assert!(choose(Some(port + 1), Some(port), true).is_err());
    }

    #[test]
    fn a_port_of_a_connection_is_told_from_one_that_is_listened_on() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let of_client = client.local_addr().unwrap().port();
        let said = |port| choose(Some(port), None, false).unwrap_err().to_string();
        assert!(said(of_client).starts_with(&format!("port {of_client} is taken by a connection")));
        let of_server = server.local_addr().unwrap().port();
        assert!(said(of_server).starts_with("something else listens on port "));
    }
}

//! Which addresses may be probed: configured hosts only, and never those where machines keep their credentials.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;

use super::settings::{ObservabilityConfig, invalid};
use crate::contract::{Code, ToolError};

/// Where clouds tell a machine who it is, outside of the link-local range.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254),
    Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254),
    Ipv6Addr::new(0xfd00, 0x0042, 0, 0, 0, 0, 0, 0x0042),
];

/// An address whose host is allowed, but whose name has not been looked up yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Allowed {
    pub(super) url: Url,
    pub(super) host: String,
    pub(super) port: u16,
}

/// Why a name leads nowhere.
#[derive(Debug)]
pub(super) enum Unresolved {
    /// It is known to nobody.
    Unknown(String),
    /// It leads to where no probe may go.
    Refused(ToolError),
}

/// Checks that an address may be probed.
pub(super) fn check(config: &ObservabilityConfig, url: &str) -> Result<Allowed, ToolError> {
    let url = Url::parse(url).map_err(|error| {
        invalid(format!("url is none: {error}")).hint("write https://host/path")
    })?;
    check_url(config, url)
}

/// The same for an address that a redirect names.
pub(super) fn check_url(config: &ObservabilityConfig, url: Url) -> Result<Allowed, ToolError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid(format!("only http and https are probed, not {}", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("url holds credentials")
            .hint("give them as headers, from a secret: { \"Authorization\": \"Bearer ${secrets.NAME}\" }"));
    }
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(invalid("url names no host"));
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let apps = config.apps.values().flat_map(|app| app.environments.values());
    let own = apps.filter_map(|environment| Url::parse(environment.url.as_deref()?).ok());
    let mut own = own.map(|url| (url.host_str().map(str::to_owned), url.port_or_known_default()));
    let of_app = own.any(|own| own == (Some(host.clone()), Some(port)));
    if !of_app && !config.hosts.iter().any(|rule| fits(rule, &host, port)) {
        let hosts =
            if config.hosts.is_empty() { "none".to_owned() } else { config.hosts.join(", ") };
        let message = format!("{host}:{port} is not among the hosts that may be probed");
        return Err(ToolError::new(Code::Guardrail, message).hint(format!(
            "add \"{host}\" or \"{host}:{port}\" to hosts in [observability]; allowed are: {hosts}"
        )));
    }
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        refuse(&host, &[address])?;
    }
    Ok(Allowed { url, host, port })
}

/// Whether a rule such as `*.example.com` or `localhost:8080` means this host and port. A rule without a port means
/// the usual ones.
fn fits(rule: &str, host: &str, port: u16) -> bool {
    let rule = rule.trim().to_ascii_lowercase();
    let (name, ports) = match rule.rsplit_once(':') {
        Some((name, ports)) if !ports.contains(']') => (name.to_owned(), Some(ports.to_owned())),
        _ => (rule, None),
    };
    let port_fits = match ports.as_deref() {
        None => matches!(port, 80 | 443),
        Some("*") => true,
        Some(own) => own.parse() == Ok(port),
    };
    let host_fits = match name.strip_prefix("*.") {
        Some(domain) => {
            host.strip_suffix(domain).is_some_and(|start| 1 < start.len() && start.ends_with('.'))
        }
        None => name == host,
    };
    port_fits && host_fits
}

/// The addresses of a host. One that is refused refuses them all: nobody knows which would be taken.
pub(super) async fn resolve(allowed: &Allowed) -> Result<Vec<SocketAddr>, Unresolved> {
    let host = allowed.host.trim_matches(['[', ']']);
    let found = tokio::net::lookup_host((host, allowed.port)).await;
    let found: Vec<SocketAddr> =
        found.map_err(|error| Unresolved::Unknown(error.to_string()))?.collect();
    if found.is_empty() {
        return Err(Unresolved::Unknown("it has no address".to_owned()));
    }
    let addresses: Vec<IpAddr> = found.iter().map(SocketAddr::ip).collect();
    refuse(&allowed.host, &addresses).map_err(Unresolved::Refused)?;
    Ok(found)
}

fn refuse(host: &str, addresses: &[IpAddr]) -> Result<(), ToolError> {
    let Some(address) = addresses.iter().find(|address| is_refused(**address)) else {
        return Ok(());
    };
    let message = format!("{host} leads to {address}, which is never probed");
    Err(ToolError::new(Code::Guardrail, message)
        .hint("link-local and metadata addresses are refused whatever the configuration says"))
}

fn is_refused(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_link_local()
                || address.is_unspecified()
                || address.is_broadcast()
                || address.is_multicast()
                || METADATA_V4.contains(&address)
        }
        IpAddr::V6(address) => {
            embedded(address).is_some_and(|inner| is_refused(IpAddr::V4(inner)))
                || address.is_unspecified()
                || address.is_unicast_link_local()
                || address.is_multicast()
                || METADATA_V6.contains(&address)
        }
    }
}

/// The IPv4 address in an IPv6 address that leads to it: mapped, translated, compatible, NAT64 and 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let parts = address.segments();
    let octets = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match parts {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        // Of a network's own NAT64.
        | [0x64, 0xff9b, 1, .., high, low] => Some(octets(high, low)),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(octets(high, low)),
        [0x2002, high, low, ..] => Some(octets(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(hosts: &[&str]) -> ObservabilityConfig {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        ObservabilityConfig { hosts, ..ObservabilityConfig::default() }
    }

    #[test]
    fn only_configured_hosts_are_probed() {
        let config = config(&["api.example.com", "*.internal.test", "localhost:8080", "[::1]:*"]);
        let cases = [
            ("https://api.example.com/health", true),
            ("https://API.example.com./health", true),
            ("https://api.example.com:8443/", false),
            ("https://evil.com/?api.example.com", false),
            ("https://api.example.com.evil.com/", false),
            ("https://xapi.example.com/", false),
            ("http://a.internal.test/", true),
            ("http://internal.test/", false),
            ("http://xinternal.test/", false),
            ("http://localhost:8080/", true),
            ("http://localhost/", false),
            ("http://[::1]:9/", true),
            ("http://user:word@localhost:8080/", false),
            ("ftp://localhost:8080/", false),
            ("file:///etc/passwd", false),
            ("not an address", false),
        ];
        for (url, expected) in cases {
            assert_eq!(check(&config, url).is_ok(), expected, "{url}");
        }
    }

    #[test]
    fn metadata_and_link_local_addresses_are_refused_even_when_configured() {
        let hosts = [
            "169.254.169.254",
            "[fd00:ec2::254]",
            "[::ffff:169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:a9fe:a9fe::1]",
            "[::ffff:0:169.254.169.254]",
            "[64:ff9b:1::a9fe:a9fe]",
            "[fd20:ce::254]",
            "192.0.0.192",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "[fe80::1]",
            "100.100.100.200",
            "0.0.0.0",
            "[::]",
        ];
        for host in hosts {
            // The parser writes addresses in its own way: allow whatever it makes of them.
            let url = Url::parse(&format!("http://{host}/")).unwrap();
            let config = config(&[host, url.host_str().unwrap()]);
            let error = check(&config, url.as_str()).unwrap_err();
            assert_eq!(error.code, Code::Guardrail, "{host}");
            assert!(error.message.contains("never probed"), "{host}: {error}");
        }
        let decimal = check(&config(&["169.254.169.254"]), "http://2852039166/").unwrap_err();
        assert!(decimal.message.contains("never probed"), "{decimal}");
    }
}

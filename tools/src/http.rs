//! How all clients of ours for HTTP begin.

use reqwest::ClientBuilder;
use reqwest::redirect::Policy;

/// A client that follows no redirect: where a request goes is decided before it goes, and a POST keeps its body.
pub(crate) fn builder() -> ClientBuilder {
    // The program installs one; a tool server that runs in other hands may be first, and would panic.
    _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    ClientBuilder::new().redirect(Policy::none())
}

//! nginx: answers every request with one text, over HTTP or HTTPS, on all of the pod's addresses.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::require;
use crate::{
    pki::LeafFiles,
    pod::{Family, Pod},
    process::Process,
    world::World,
};

/// A port of nginx.
#[derive(Clone, Debug)]
pub enum Listener {
    Http(u16),
    Https(u16, LeafFiles),
    /// Clients must show a certificate of the same root.
    Mutual(u16, LeafFiles),
}

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    _process: Process,
}

impl Nginx {
    /// Starts it in `pod` and waits until it listens.
    ///
    /// # Errors
    /// When it doesn't start.
    pub fn start(world: &World, pod: &Pod, listeners: &[Listener], text: &str) -> Result<Self> {
        require("nginx")?;
        let prefix = world.scratch("nginx")?;
        let file = write_configuration(&prefix, listeners, text)?;
        let mut command = pod.command("nginx")?;
        command.args(["-e", "stderr"]);
        command.arg("-p").arg(&prefix).arg("-c").arg(file);
        let process = pod.spawn("nginx", command)?;
        for listener in listeners {
            for family in [Family::V4, Family::V6] {
                pod.wait_listening_in(family, listener.port())?;
            }
        }
        Ok(Self { _process: process })
    }

    /// [`Nginx::start`] with one HTTP port.
    ///
    /// # Errors
    /// As that.
    pub fn http(world: &World, pod: &Pod, port: u16, text: &str) -> Result<Self> {
        Self::start(world, pod, &[Listener::Http(port)], text)
    }
}

impl Listener {
    fn port(&self) -> u16 {
        match self {
            Self::Http(port) | Self::Https(port, _) | Self::Mutual(port, _) => *port,
        }
    }
}

fn write_configuration(prefix: &Path, listeners: &[Listener], text: &str) -> Result<PathBuf> {
    let mut servers = String::new();
    for listener in listeners {
        let (port, tls, certificate) = match listener {
            Listener::Http(port) => (port, "", String::new()),
            Listener::Https(port, files) => (port, " ssl", certificate(files)),
            Listener::Mutual(port, files) => {
                (port, " ssl", certificate(files) + &of_clients(files))
            }
        };
        write!(
            servers,
            "server {{ listen 0.0.0.0:{port}{tls}; listen [::]:{port}{tls}; {certificate}\n\
             location / {{ default_type text/plain; return 200 \"{text}\"; }}\n\
             location /peer {{ default_type text/plain; return 200 \"$remote_addr\"; }}\n\
             location /certificate {{ default_type text/plain; return 200 \"$http_x_forwarded_client_cert\"; }} }}\n"
        )?;
    }
    let mut paths = String::new();
    for module in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(paths, "{module}_temp_path {module};")?;
    }
    let file = prefix.join("nginx.conf");
    let configuration = format!(
        "daemon off; user root; worker_processes 1; pid nginx.pid; error_log stderr;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 1000000;\n{paths}{servers}}}\n"
    );
    fs::write(&file, configuration)?;
    Ok(file)
}

fn certificate(files: &LeafFiles) -> String {
    let (certificate, key) = (files.certificate.display(), files.key.display());
    format!("ssl_certificate {certificate}; ssl_certificate_key {key};")
}

fn of_clients(files: &LeafFiles) -> String {
    let root = files.root.display();
    format!(" ssl_verify_client on; ssl_client_certificate {root};")
}

//! Two computers and a router between them, as network namespaces of Linux: addresses can move, and paths can fail.

use std::fs::File;
use std::future::Future;
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

/// A wrapper for [`crate::child::run`]: a process with its own network and its own `/run`, in which `ip netns` works.
pub(crate) const PRIVATE: &[&str] = &[
    "unshare",
    "--map-root-user",
    "--net",
    "--mount",
    "sh",
    "-c",
    "mount -t tmpfs none /run && ip link set lo up && exec \"$@\"",
    "sh",
];

/// The network. The process itself is the router, with the servers.
pub(crate) struct Network {
    pub(crate) computers: [Computer; 2],
}

/// A computer with one interface.
pub(crate) struct Computer {
    name: &'static str,
    /// The third number of its address.
    network: u8,
    /// Its threads are in its namespace. `None` only while it is dropped.
    runtime: Option<Runtime>,
}

/// The router, which has this address in all networks of both computers.
pub(crate) const ROUTER: &str = "10.1.0.1";

impl Network {
    /// Both computers are connected, and the router forwards packets between them.
    pub(crate) fn new() -> Self {
        // Each can move between two networks.
        let computers = [("a", [1, 3]), ("b", [2, 4])].map(|(name, networks)| {
            let port = format!("v{name}");
            ip(&["netns", "add", name]);
            ip(&["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", name]);
            ip(&["link", "set", &port, "up"]);
            for network in networks {
                ip(&["address", "add", &format!("10.{network}.0.1/24"), "dev", &port]);
            }
            ip(&["-n", name, "link", "set", "lo", "up"]);
            ip(&["-n", name, "link", "set", "eth0", "up"]);
            let computer = Computer::new(name, networks[0]);
            computer.take_address();
            computer
        });
        let network = Self { computers };
        network.set_forwarding(true);
        network
    }

    /// Whether the computers reach each other, and not only the router.
    pub(crate) fn set_forwarding(&self, forwards: bool) {
        let text = if forwards { "1" } else { "0" };
        std::fs::write("/proc/sys/net/ipv4/ip_forward", text).unwrap();
    }
}

impl Computer {
    fn new(name: &'static str, network: u8) -> Self {
        let namespace = Arc::new(File::open(format!("/run/netns/{name}")).unwrap());
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().on_thread_start(move || enter(&namespace));
        Self { name, network, runtime: Some(builder.build().unwrap()) }
    }

    /// Runs this on the computer.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        self.runtime.as_ref().unwrap().spawn(future).await.unwrap()
    }

    /// Changes to the other network: the old address is gone, and the new one works at once.
    pub(crate) fn move_away(&mut self) {
        self.lose_address();
        self.find_address();
    }

    /// The old address is gone, and nothing can be sent.
    pub(crate) fn lose_address(&self) {
        ip(&["-n", self.name, "address", "flush", "dev", "eth0"]);
    }

    /// Gets an address in the other network.
    pub(crate) fn find_address(&mut self) {
        // 1 and 3, or 2 and 4.
        self.network = (self.network + 1) % 4 + 1;
        self.take_address();
    }

    /// Loses everything in both directions, without telling anybody: both ends use a wrong hardware address.
    pub(crate) fn cut(&self) {
        for neighbour in self.neighbours("replace") {
            ip_line(&format!("{neighbour} lladdr 02:00:00:00:00:99 nud permanent"));
        }
    }

    /// Ends [`cut`](Self::cut).
    pub(crate) fn repair(&self) {
        self.neighbours("del").iter().for_each(|neighbour| ip_line(neighbour));
    }

    /// Arguments that change what the computer knows about the router, and the router about the computer.
    fn neighbours(&self, action: &str) -> [String; 2] {
        let Self { name, network, .. } = self;
        [
            format!("-n {name} neigh {action} 10.{network}.0.1 dev eth0"),
            format!("neigh {action} 10.{network}.0.2 dev v{name}"),
        ]
    }

    fn take_address(&self) {
        let network = format!("10.{}.0", self.network);
        ip(&["-n", self.name, "address", "add", &format!("{network}.2/24"), "dev", "eth0"]);
        ip(&["-n", self.name, "route", "add", "default", "via", &format!("{network}.1")]);
    }
}

impl Drop for Computer {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// Lets this thread use the network of a namespace.
fn enter(namespace: &File) {
    // SAFETY: the call changes the network of this thread, and no memory.
    #[expect(unsafe_code, reason = "no safe interface enters a namespace")]
    let status = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
}

/// Runs `ip` with these arguments.
fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {output:?}");
}

/// Runs `ip` with arguments that are separated by spaces.
fn ip_line(arguments: &str) {
    ip(&arguments.split(' ').collect::<Vec<_>>());
}

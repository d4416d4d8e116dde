//! `--debug-state`: a trace of events, under the letters of the Python command line.
//!
//! Each letter stands for one of its state machines. Codes, passwords, keys, texts and names are not shown, so a
//! trace can be published.

use std::time::Instant;

use wormhole::code;
use wormhole::transfer::Event;

use crate::screen::Screen;

/// The machines to trace, and the start time.
#[derive(Debug)]
pub(crate) struct Trace {
    machines: Vec<String>,
    start: Instant,
}

impl Trace {
    /// Traces nothing if there are no machines.
    pub(crate) fn new(machines: Vec<String>) -> Self {
        Self { machines, start: Instant::now() }
    }

    /// Shows an event, if its machine is traced.
    pub(crate) fn show(&self, event: &Event, screen: &Screen) {
        let (machine, what) = describe(event);
        if self.machines.iter().any(|traced| traced == machine) {
            let seconds = self.start.elapsed().as_secs_f64();
            screen.show(&format!("debug: {seconds:9.3} {machine}: {what}"));
        }
    }
}

/// The machine of an event and the name of the event, without secrets.
pub(crate) fn describe(event: &Event) -> (&'static str, &'static str) {
    match event {
        Event::Wormhole(event) => describe_wormhole(event),
        Event::CodeWanted(_) => ("C", "code wanted"),
        Event::ServerRetry { .. } => ("RC", "server still lost"),
        Event::PortTaken { .. } => ("B", "port taken"),
        Event::Offer(_) => ("R", "offer"),
        Event::Text(_) => ("R", "text"),
        Event::Accepted => ("O", "accepted"),
        Event::Connected(_) => ("B", "transit connected"),
        Event::Progress { .. } => ("S", "progress"),
        Event::AwaitingConfirmation => ("S", "awaiting confirmation"),
        Event::Done(_) => ("T", "done"),
        Event::ConnectionLost => ("B", "connection-lost"),
        Event::Kept(_) => ("B", "kept"),
        Event::Resuming { .. } => ("B", "resuming"),
        _ => ("B", "event"),
    }
}

fn describe_wormhole(event: &code::Event) -> (&'static str, &'static str) {
    match event {
        code::Event::Server(_) => ("RC", "server"),
        code::Event::Welcome(_) => ("RC", "welcome"),
        code::Event::Code(_) => ("C", "code"),
        code::Event::ServerLost => ("RC", "server lost"),
        code::Event::ServerFound => ("RC", "server found"),
        code::Event::CodeConsumed => ("N", "code consumed"),
        code::Event::Key(_) => ("SK", "key established"),
        code::Event::Verifier(_) => ("K", "verifier"),
        code::Event::Version(_) => ("B", "version"),
        code::Event::Closed(_)
        | code::Event::Dilation { .. }
        | code::Event::Message(_)
        | code::Event::NameplateClaimed
        | code::Event::Nameplates(_)
        | code::Event::ServerRetry { .. } => ("B", "event"),
        // A later event of the SDK.
        _ => ("B", "event"),
    }
}

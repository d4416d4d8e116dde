//! Options about the code and what is shown, for `send` and `receive`.

/// Options of the code and of the output.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct CodeArgs {
    /// Use no code: anyone who uses -0 on the same mailbox server can be the other side
    #[arg(short = '0')]
    pub(crate) zero_mode: bool,
    /// Number of words in a new code
    #[arg(short, long, value_name = "NUMWORDS", value_parser = super::words)]
    pub(crate) code_length: Option<u8>,
    /// Compare a verification string with the other side
    #[arg(short, long)]
    pub(crate) verify: bool,
    /// Seconds to wait for the other side if the connection is lost during a transfer [default: 600]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400 * 7))]
    pub(crate) patience: Option<u64>,
    /// Transfer as with other programs: the transfer ends if the connection is lost, and cannot be continued
    #[arg(long)]
    pub(crate) no_dilation: bool,
    /// Show no progress bar
    #[arg(long)]
    pub(crate) hide_progress: bool,
    /// Print a protocol trace without secrets; MACHINES selects parts of the protocol: B boss, N
    /// nameplate, M mailbox, S send, O order, K key, SK sorted key, R receive, RC rendezvous
    /// connector, L lister, C code, T terminator
    #[arg(
        long,
        value_name = "MACHINES",
        num_args = 0..=1,
        default_missing_value = DEBUG_MACHINES,
        value_delimiter = ','
    )]
    pub(crate) debug_state: Option<Vec<String>>,
}

/// The machines of `--debug-state`, as in the Python command line: boss, nameplate, mailbox,
/// send, order, key, sorted key, receive, rendezvous connector, lister, code, terminator.
pub(crate) const DEBUG_MACHINES: &str = "B,N,M,S,O,K,SK,R,RC,L,C,T";

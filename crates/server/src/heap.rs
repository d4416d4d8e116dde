//! Makes the allocator give memory back to the system once it is free.
//!
//! glibc keeps large blocks for itself after the first few: the size from which a block is a mapping of
//! its own, gone when it is freed, grows with every one that is freed, and what is below it is kept as
//! long as anything above it is in use. A server that has held a hundred megabytes for a moment would
//! have them for ever. Other allocators need nothing of this.

/// Fixes the size from which a block is a mapping of its own. Once, before there is much to free.
pub(crate) fn configure() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::fix_threshold();
}

/// Gives back all pages of the heap that nothing is in. Takes milliseconds.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::trim();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    #[expect(unsafe_code, reason = "no safe interface sets the allocator up")]
    pub(super) fn fix_threshold() {
        // SAFETY: takes two numbers and may be called at any time.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED) };
    }

    #[expect(unsafe_code, reason = "no safe interface gives the heap's pages back")]
    pub(super) fn trim() {
        // SAFETY: takes a number, may be called by any thread, and frees only what is not allocated.
        unsafe { libc::malloc_trim(0) };
    }

    /// Bytes of a block that is a mapping of its own. Above what is allocated often.
    const MAPPED: libc::c_int = 256 << 10;
}

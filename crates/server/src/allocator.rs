//! Makes the allocator return freed memory to the system.
//!
//! glibc gives each large block a memory mapping of its own, which returns to the system when the block is freed. But
//! glibc raises the size limit for that with every large block that is freed, and smaller blocks stay in the heap as
//! long as anything above them is in use. A server that has held a hundred megabytes for a moment would keep them for
//! ever. Other allocators do not need this.

/// Fixes the size from which a block gets a mapping of its own. Call it once, at the start.
pub(crate) fn configure() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::fix_threshold();
}

/// Returns all unused pages of the heap to the system. Takes milliseconds.
pub(crate) fn release_unused() {
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

    /// Bytes from which a block gets a mapping of its own: more than the sizes that are allocated often.
    const MAPPED: libc::c_int = 256 << 10;
}

//! Makes the allocator return freed memory to the system.
//!
//! glibc allocates each large block as a separate memory mapping, which is unmapped when the block is freed. But each
//! time such a block is freed, glibc raises the threshold for separate mappings. Blocks below the threshold are in the
//! heap, where they stay as long as any block above them is in use. So a server that has used a hundred megabytes for a
//! moment would keep them forever. Other allocators do not need this.

/// Fixes the threshold for separate mappings. Call it once, at the start.
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
    #[expect(unsafe_code, reason = "there is no safe interface for this option of the allocator")]
    pub(super) fn fix_threshold() {
        // SAFETY: takes two numbers and may be called at any time.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED) };
    }

    #[expect(unsafe_code, reason = "there is no safe interface for returning pages of the heap")]
    pub(super) fn trim() {
        // SAFETY: takes a number, may be called by any thread, and frees only what is not allocated.
        unsafe { libc::malloc_trim(0) };
    }

    /// Size in bytes from which a block gets a separate mapping: more than the sizes that are allocated often.
    const MAPPED: libc::c_int = 256 << 10;
}

//! How the library's memory is given back, and what happens where there is none left.
//!
//! Memory is overwritten before it is given back. Documents, the secrets and session tokens in them, and tokens go through
//! strings and buffers of many libraries; so none of them leaves anything behind, whichever it is, and a backend has
//! no secret once its login is decided. That takes as long as to clear the memory that the login itself has used.
//!
//! Without memory Rust aborts the process. The postmaster takes that for a crash, as which it ends all other
//! sessions and starts anew: one login without memory would end every session. So a backend
//! ends as PostgreSQL ends one that cannot go on, with FATAL, before Rust hears of it.

use crate::port;
use nix::libc::explicit_bzero;
use std::alloc::{GlobalAlloc, Layout, System};

struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// Passes on what the system gave. Comes back with nothing only where there is no backend to end.
fn given(memory: *mut u8, size: usize) -> *mut u8 {
    if memory.is_null() {
        port::out_of_memory(size);
    }
    memory
}

// SAFETY: the system's allocator with the callers' own promises. Nothing unwinds out of it: FATAL
// ends the process inside the call.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    /// Never by the system's own, which may leave a copy at the old place.
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise is that the size fits; both are as long as what is copied.
        unsafe {
            let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(memory, layout.size().min(size));
                self.dealloc(memory, layout);
            }
            moved
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above; the memory is the caller's until here, and no compiler leaves the call out.
        unsafe {
            explicit_bzero(memory.cast(), layout.size());
            System.dealloc(memory, layout);
        }
    }
}

/// Joins the pieces of memory that were given back, in the postmaster, before it forks.
///
/// glibc leaves small pieces apart until something large is asked for, and then writes into each. A backend that has to do
/// that gets a copy of each page with such a piece, of documents that the postmaster has long forgotten.
pub fn join_free_pieces() {
    // SAFETY: changes nothing that is in use; the postmaster has one thread.
    #[cfg(target_env = "gnu")]
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

//! What happens where there is no memory left.
//!
//! Rust then aborts the process. The postmaster takes that for a crash, as which it ends all other
//! sessions and starts anew: one login without memory would cost everybody his session. So a backend
//! ends as PostgreSQL ends one that cannot go on, with FATAL, before Rust hears of it.

use crate::port;
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

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.realloc(memory, layout, size) }, size)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

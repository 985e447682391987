//! An answer, whichever protocol it is of.

use data_encoding::HEXLOWER;

/// An answer: its status, the type of its content, and that.
pub struct Answer(pub u16, pub &'static str, pub String);

impl Answer {
    /// An answer of this status, with XML in it.
    pub fn xml(status: u16, text: String) -> Self {
        Self(status, "text/xml", text)
    }

    /// An answer of this status, with JSON in it.
    pub fn json(status: u16, value: &serde_json::Value) -> Self {
        Self(status, "application/json", value.to_string())
    }
}

/// The id of a request, for its answer.
pub fn request_id() -> String {
    let mut bytes = [0; 16];
    match getrandom::fill(&mut bytes) {
        Ok(()) => HEXLOWER.encode(&bytes),
        // It is there to be told apart, and nothing rests on it.
        Err(_) => String::new(),
    }
}

//! Texts of others in a form that can be shown.

use std::path::Path;

/// The most characters of a text that a client chose, where one is told to the client or to the log.
const MAX_SHOWN: usize = 255;

/// Whether a character is not seen itself, but changes how a text is shown or read: a control character, one that
/// turns the direction of writing or has no width, and those two below 65,536 that XML cannot hold at all.
pub fn is_hidden(char: char) -> bool {
    let is_format = matches!(char, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    is_format || char.is_control()
}

/// A text that a client chose in a form that can be shown: short, and with hidden characters written out,
/// so that a terminal that shows the log does nothing, and nothing looks like something else.
pub fn printable(text: &str) -> String {
    printable_up_to(text, MAX_SHOWN)
}

/// As [`printable`], of a text that may have `most` characters.
pub fn printable_up_to(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => visible(&text[..end]) + "…",
        None => visible(text),
    }
}

/// A path with hidden characters written out.
pub fn visible_path(path: &Path) -> String {
    visible(&path.to_string_lossy())
}

/// A text of any length with hidden characters written out.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if is_hidden(char) {
            shown.extend(char.escape_unicode());
        } else {
            shown.push(char);
        }
    }
    shown
}

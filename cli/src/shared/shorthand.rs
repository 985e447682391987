//! The AWS CLI's shorthand for structures: `Name=value,List=a,b,List=[a,'b'],Quoted="x, y"`.
//!
//! Follows <https://docs.aws.amazon.com/cli/latest/userguide/cli-usage-shorthand.html>, without
//! structures in structures, which nothing here has.

use std::collections::HashSet;

use crate::shared::error::Error;

/// The fields of a structure in the shorthand, each taken out by its name.
pub struct Fields<'o> {
    form: &'o str,
    fields: Vec<(String, Vec<String>)>,
}

impl<'o> Fields<'o> {
    /// Takes the form that the text should have, for the error, and the names that may be in it.
    ///
    /// # Errors
    /// A sentence: it is not shorthand, or a name is unknown or a duplicate.
    pub fn read(form: &'o str, names: &[&str], text: &str) -> Result<Self, Error> {
        let mut read = Self {
            form,
            fields: Vec::new(),
        };
        read.fields = parse(text).map_err(|found| read.fault(&found.to_string()))?;
        let mut known = HashSet::new();
        for (name, _) in &read.fields {
            if !names.contains(&name.as_str()) {
                return Err(read.fault(&format!("unknown field {name}")));
            }
            if !known.insert(name) {
                return Err(read.fault(&format!("duplicate field {name}")));
            }
        }
        Ok(read)
    }

    /// A sentence about this text, with the form that it should have.
    pub fn fault(&self, found: &str) -> Error {
        format!("{found}; it is written as {}", self.form).into()
    }

    /// Takes the values of a field.
    pub fn list(&mut self, name: &str) -> Option<Vec<String>> {
        let at = self.fields.iter().position(|(field, _)| field == name)?;
        Some(self.fields.swap_remove(at).1)
    }

    /// Takes the one value of a field, if it is there.
    pub fn one(&mut self, name: &str) -> Result<Option<String>, Error> {
        let Some(mut values) = self.list(name) else {
            return Ok(None);
        };
        match (values.pop(), values.is_empty()) {
            (Some(value), true) => Ok(Some(value)),
            _ => Err(self.fault(&format!("{name} takes one value"))),
        }
    }

    /// Takes the one value of a field that has to be there.
    pub fn needed(&mut self, name: &str) -> Result<String, Error> {
        self.one(name)?
            .ok_or_else(|| self.fault(&format!("{name} is missing")))
    }
}

/// The names with their values, in their order. A part without `=` is one more value of the name
/// before it.
///
/// # Errors
/// A clause that says what is wrong.
fn parse(text: &str) -> Result<Vec<(String, Vec<String>)>, Error> {
    let mut fields: Vec<(String, Vec<String>)> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        // A quoted text has no name in front of it.
        let name_end = rest.find(['=', ',', '\'', '"', '[']);
        let name = name_end.filter(|end| rest[*end..].starts_with('='));
        match name {
            Some(end) => {
                let (values, after) = values(&rest[end + 1..])?;
                fields.push((rest[..end].trim_end().to_owned(), values));
                rest = after;
            }
            None => {
                let (value, after) = value(rest, &[','])?;
                let (_, values) = fields
                    .last_mut()
                    .ok_or_else(|| format!("\"{value}\" is not of the form NAME=VALUE"))?;
                values.push(value);
                rest = after;
            }
        }
        rest = rest.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.is_empty() => return Ok(fields),
            None => return Err(format!("unexpected \"{rest}\" after a value").into()),
        }
    }
}

/// The value behind a `=`, or the values if they are in brackets; and what follows.
fn values(text: &str) -> Result<(Vec<String>, &str), Error> {
    let Some(mut rest) = text.trim_start().strip_prefix('[') else {
        let (value, rest) = value(text, &[','])?;
        return Ok((vec![value], rest));
    };
    let mut values = Vec::new();
    if let Some(after) = rest.trim_start().strip_prefix(']') {
        return Ok((values, after));
    }
    loop {
        let (value, after) = value(rest, &[',', ']'])?;
        values.push(value);
        let after = after.trim_start();
        if let Some(after) = after.strip_prefix(']') {
            return Ok((values, after));
        }
        rest = after
            .strip_prefix(',')
            .ok_or_else(|| "unterminated list ([)".to_owned())?;
    }
}

/// One value, quoted or up to one of the characters of `ends`; and what follows. A backslash
/// takes the meaning from a quote or an end.
fn value<'t>(text: &'t str, ends: &[char]) -> Result<(String, &'t str), Error> {
    let text = text.trim_start();
    let quote = text.chars().next().filter(|c| ['\'', '"'].contains(c));
    let is_end = |c: char| quote.map_or(ends.contains(&c), |quote| c == quote);
    let inside = &text[quote.map_or(0, char::len_utf8)..];
    let mut value = String::new();
    let mut characters = inside.char_indices();
    while let Some((at, c)) = characters.next() {
        if is_end(c) {
            return Ok(match quote {
                Some(quote) => (value, &inside[at + quote.len_utf8()..]),
                None => (value.trim_end().to_owned(), &inside[at..]),
            });
        }
        let next = inside[at + c.len_utf8()..].chars().next();
        if c == '\\' && next.is_some_and(|next| is_end(next) || next == '\\') {
            characters.next();
            value.extend(next);
        } else {
            value.push(c);
        }
    }
    match quote {
        Some(quote) => Err(format!("unterminated quote ({quote})").into()),
        None => Ok((value.trim_end().to_owned(), "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lists_and_quotes() {
        for (text, expected) in [
            ("A=b", &[("A", &["b"][..])][..]),
            ("A=b,C=d,e", &[("A", &["b"]), ("C", &["d", "e"])]),
            ("A=[b, 'c,]' ],C=", &[("A", &["b", "c,]"]), ("C", &[""])]),
            ("A=[]", &[("A", &[])]),
            ("A='b=c','d'", &[("A", &["b=c", "d"])]),
            (
                "A=\"it's\",B='say \\'x\\''",
                &[("A", &["it's"]), ("B", &["say 'x'"])],
            ),
            ("A=b\\,c,C:\\d", &[("A", &["b,c", "C:\\d"])]),
            (
                "A=2019-04-25T11:00:00Z",
                &[("A", &["2019-04-25T11:00:00Z"])],
            ),
        ] {
            let fields = parse(text).unwrap();
            let fields: Vec<(&str, Vec<&str>)> = fields
                .iter()
                .map(|(name, values)| (&**name, values.iter().map(|v| &**v).collect()))
                .collect();
            let expected: Vec<(&str, Vec<&str>)> = expected
                .iter()
                .map(|(name, values)| (*name, values.to_vec()))
                .collect();
            assert_eq!(fields, expected, "{text}");
        }
        for (text, fault) in [
            ("", "\"\" is not of the form NAME=VALUE"),
            ("a,B=c", "\"a\" is not of the form NAME=VALUE"),
            ("A='b", "unterminated quote (')"),
            ("A=[b", "unterminated list ([)"),
            ("A='b'c", "unexpected \"c\" after a value"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), fault, "{text}");
        }
    }
}

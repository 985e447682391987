//! Connection strings of libpq: their password is taken out, since others can see a command line.
//!
//! Follows <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>.

use percent_encoding::percent_decode_str;

use crate::shared::error::Error;

/// A connection string in two parts.
#[derive(Debug, PartialEq, Eq)]
pub struct ConnectionString {
    /// what a command line may hold
    pub public: String,
    /// the password, for the environment
    pub password: Option<String>,
}

impl ConnectionString {
    /// Takes a connection string apart: `KEYWORD=VALUE …`, a URI, or the name of a database.
    ///
    /// # Errors
    /// A sentence without any of the string: it is malformed, or holds a secret that libpq takes from
    /// nowhere else.
    pub fn split(text: &str) -> Result<Self, Error> {
        for scheme in ["postgresql://", "postgres://"] {
            if let Some(rest) = text.strip_prefix(scheme) {
                return Self::of_uri(scheme, rest);
            }
        }
        if text.contains('=') {
            return Self::of_keywords(text);
        }
        Ok(Self {
            public: text.to_owned(),
            password: None,
        })
    }

    fn of_uri(scheme: &str, rest: &str) -> Result<Self, Error> {
        let decoded = |text: &str| {
            let decoded = percent_decode_str(text).decode_utf8();
            decoded
                .map(|text| text.into_owned())
                .map_err(|_| "the password in the connection URI is not UTF-8".to_owned())
        };
        let mut password = None;
        let (user, rest) = match rest.find(['@', '/']) {
            Some(end) if rest[end..].starts_with('@') => (&rest[..end], &rest[end..]),
            _ => ("", rest),
        };
        let user = match user.split_once(':') {
            Some((user, found)) => {
                password = Some(decoded(found)?);
                user
            }
            None => user,
        };
        let (place, parameters) = match rest.split_once('?') {
            Some((place, parameters)) => (place, Some(parameters)),
            None => (rest, None),
        };
        let mut kept = Vec::new();
        for parameter in parameters.into_iter().flat_map(|all| all.split('&')) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match &*decoded(name)? {
                "password" => password = Some(decoded(value)?),
                "sslpassword" => return Err(NO_SSLPASSWORD.into()),
                _ => kept.push(parameter),
            }
        }
        let mut public = format!("{scheme}{user}{place}");
        if !kept.is_empty() {
            public = format!("{public}?{}", kept.join("&"));
        }
        Ok(Self { public, password })
    }

    fn of_keywords(text: &str) -> Result<Self, Error> {
        let malformed =
            || "the connection string is malformed: it is written as host=… user=…".to_owned();
        let is_space = |character: char| character.is_ascii_whitespace() || character == '\x0b';
        let (mut public, mut password) = (Vec::new(), None);
        let mut rest = text.trim_start_matches(is_space);
        while !rest.is_empty() {
            let end = rest
                .find(|c| c == '=' || is_space(c))
                .ok_or_else(malformed)?;
            let name = &rest[..end];
            let after = rest[end..].trim_start_matches(is_space);
            let after = after.strip_prefix('=').ok_or_else(malformed)?;
            let (value, after) = value(after.trim_start_matches(is_space)).ok_or_else(malformed)?;
            match name {
                "password" => password = Some(value),
                "sslpassword" => return Err(NO_SSLPASSWORD.into()),
                _ => public.push(format!(
                    "{name}='{}'",
                    value.replace('\\', r"\\").replace('\'', r"\'")
                )),
            }
            rest = after.trim_start_matches(is_space);
        }
        Ok(Self {
            public: public.join(" "),
            password,
        })
    }
}

const NO_SSLPASSWORD: &str = "sslpassword would stand on psql's command line, where others can see it: name a key \
                              without a passphrase, or a service file that has it";

/// One value of a connection string, quoted or up to the next space, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let quoted = text.strip_prefix('\'');
    let inside = quoted.unwrap_or(text);
    let mut value = String::new();
    let mut characters = inside.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted.is_some() => return Some((value, &inside[at + 1..])),
            other if quoted.is_none() && (other.is_ascii_whitespace() || other == '\x0b') => {
                return Some((value, &inside[at..]));
            }
            other => value.push(other),
        }
    }
    quoted.is_none().then_some((value, ""))
}

#[cfg(test)]
mod tests {
    use super::ConnectionString;

    #[test]
    fn the_password_is_taken_out() {
        for (text, public, password) in [
            ("", "", None),
            ("postgres", "postgres", None),
            ("host=a user=b", "host='a' user='b'", None),
            ("host=a password=x user=b", "host='a' user='b'", Some("x")),
            ("password='it\\'s' host = a", "host='a'", Some("it's")),
            ("password=a password = b", "", Some("b")),
            ("password=a\\ b\thost='c d'", "host='c d'", Some("a b")),
            ("host=a\\'b\\\\c", r"host='a\'b\\c'", None),
            ("password=", "", Some("")),
            ("postgresql://a@h/d", "postgresql://a@h/d", None),
            (
                "postgres://a:p%40ss@h:1,i/d?x=1",
                "postgres://a@h:1,i/d?x=1",
                Some("p@ss"),
            ),
            ("postgresql://h/d?password=x", "postgresql://h/d", Some("x")),
            (
                "postgresql://h/d?a=1&pass%77ord=x&b=2",
                "postgresql://h/d?a=1&b=2",
                Some("x"),
            ),
            (
                "postgresql://a:x@/d?password=y",
                "postgresql://a@/d",
                Some("y"),
            ),
            ("postgresql://%2Ftmp/d@e", "postgresql://%2Ftmp/d@e", None),
        ] {
            let split = ConnectionString::split(text).unwrap();
            assert_eq!(
                (&*split.public, split.password.as_deref()),
                (public, password),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_kept_from_others_is_refused() {
        for text in [
            "host=a sslpassword=secret",
            "postgresql://h/d?sslpassword=secret",
            "host=a password='secret",
            "host=a secret",
            "= secret ' secret",
            "postgresql://h/d?password=%ffsecret",
        ] {
            let split = ConnectionString::split(text);
            let leaks = match split {
                Err(fault) => fault.to_string().contains("secret"),
                Ok(split) => split.public.contains("secret"),
            };
            assert!(!leaks, "{text}");
        }
    }
}

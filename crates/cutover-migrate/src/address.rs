//! A database's address: what of a URL may be shown, and what of it a driver is given.
//!
//! A URL holds a password, and one with unescaped special characters is read differently by every program: its password
//! turns up as host, port or database. So a URL that can be read in two ways is refused without showing any of it.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use crate::dialect::Dialect;

/// Where a database is, without user, password and parameters: safe to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    dialect: Dialect,
    host: String,
    database: String,
}

impl Place {
    /// Which database.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The database's name, or SQLite's file.
    pub fn database(&self) -> &str {
        &self.database
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dialect {
            Dialect::Sqlite => write!(f, "sqlite:{}", self.database),
            other => write!(f, "{}://{}/{}", other.as_str(), self.host, self.database),
        }
    }
}

/// Why a text is not a database URL. Shows nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// No scheme that is known.
    #[error("the database URL must begin with postgres://, mysql://, mariadb:// or sqlite:")]
    Scheme,
    /// `@` or `#` after the host, or a port that is no number.
    #[error(
        "the database URL can be read in two ways: percent-encode special characters in user and password \
         (`/` as %2F, `?` as %3F, `#` as %23, `@` as %40), and write the port as a number"
    )]
    Ambiguous,
}

/// The parameters of a PostgreSQL URL that the driver knows. It logs the value of any other.
const POSTGRES_PARAMETERS: [&str; 16] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
];

const SQLITE_PARAMETERS: [&str; 4] = ["mode", "cache", "immutable", "vfs"];

impl Place {
    /// Reads what may be shown of a URL.
    ///
    /// # Errors
    /// When the scheme is unknown, or user and password can't be told from the rest with certainty.
    pub fn of(url: &SecretString) -> Result<Self, InvalidUrl> {
        let url = url.expose_secret();
        let (scheme, rest) = url.split_once(':').ok_or(InvalidUrl::Scheme)?;
        let dialect = match scheme {
            "postgres" | "postgresql" => Dialect::Postgres,
            "mysql" | "mariadb" => Dialect::Mysql,
            "sqlite" | "file" => return Ok(Self::of_file(rest)),
            _ => return Err(InvalidUrl::Scheme),
        };
        let rest = rest.strip_prefix("//").ok_or(InvalidUrl::Scheme)?;
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if tail.contains(['@', '#']) {
            return Err(InvalidUrl::Ambiguous);
        }
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        // A port that is no number is rather a piece of something secret.
        let port = host.rsplit_once(':').map_or("", |(_, port)| port);
        if !host.ends_with(']') && !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidUrl::Ambiguous);
        }
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        let parameter = |name: &str| query.split('&').find_map(|p| p.strip_prefix(name)?.strip_prefix('='));
        let host = parameter("host")
            .or_else(|| parameter("hostaddr"))
            .or_else(|| parameter("socket"))
            .unwrap_or(host);
        let database = parameter("dbname").unwrap_or(path.trim_start_matches('/'));
        Ok(Self { dialect, host: printable(host), database: printable(database) })
    }

    fn of_file(rest: &str) -> Self {
        let path = rest.strip_prefix("//").unwrap_or(rest);
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        Self { dialect: Dialect::Sqlite, host: String::new(), database: printable(path) }
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(feature = "postgres")]
pub(crate) fn for_postgres(url: &str) -> String {
    keep_parameters(url, |key| {
        POSTGRES_PARAMETERS.contains(&key) || key == "options" || key.starts_with("options[")
    })
}

#[cfg(feature = "mysql")]
pub(crate) fn for_mysql(url: &str) -> String {
    url.strip_prefix("mariadb:").map_or_else(|| url.to_owned(), |rest| format!("mysql:{rest}"))
}

#[cfg(feature = "sqlite")]
pub(crate) fn for_sqlite(url: &str) -> String {
    let url = url.strip_prefix("file:").map_or_else(|| url.to_owned(), |rest| format!("sqlite:{rest}"));
    keep_parameters(&url, |key| SQLITE_PARAMETERS.contains(&key))
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
fn keep_parameters(url: &str, known: impl Fn(&str) -> bool) -> String {
    let Some((base, query)) = url.split_once('?') else { return url.to_owned() };
    let kept: Vec<_> =
        query.split('&').filter(|p| known(p.split_once('=').map_or(*p, |(key, _)| key))).collect();
    if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(url: &str) -> Result<String, InvalidUrl> {
        Place::of(&SecretString::from(url)).map(|place| place.to_string())
    }

    #[test]
    fn only_scheme_host_and_database_are_shown() {
        let table = [
            ("postgres://ann:s3cret@db.example:5432/shop?sslmode=require", "postgres://db.example:5432/shop"),
            ("postgresql://ann:s3@cret@db/shop", "postgres://db/shop"),
            ("postgres:///shop?host=/run/postgresql&password=s3cret", "postgres:///run/postgresql/shop"),
            ("mariadb://ann@db/shop", "mysql://db/shop"),
            ("sqlite:data/shop.db?mode=rwc", "sqlite:data/shop.db"),
            ("file:shop.db", "sqlite:shop.db"),
        ];
        for (url, shown) in table {
            assert_eq!(place(url).unwrap(), shown);
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for url in ["postgres://u:12/34@host/db", "mysql://u:p#w@host/db", "postgres://u:1?2@host/db"] {
            assert_eq!(place(url).unwrap_err(), InvalidUrl::Ambiguous, "{url}");
        }
        for url in ["hunter2", "hunter2://x", "postgres:x", ""] {
            assert_eq!(place(url).unwrap_err(), InvalidUrl::Scheme, "{url}");
        }
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn parameters_the_driver_would_log_are_left_out() {
        let url = "postgres://h/d?schema=s3cret&sslmode=disable&passwd=s3cret&options[a]=b";
        assert_eq!(for_postgres(url), "postgres://h/d?sslmode=disable&options[a]=b");
        assert_eq!(for_postgres("postgres://h/d?schema=x"), "postgres://h/d");
    }

    proptest! {
        /// Whatever the password, it is either refused or not shown; letters of the alphabet used nowhere else.
        #[test]
        fn no_password_is_shown(password in "[ZQX@:/?#%&=+ 0-9]{0,12}ZQX[ZQX@:/?#%&=+ 0-9]{0,12}", scheme in 0usize..2) {
            let scheme = ["postgres", "mysql"][scheme];
            match place(&format!("{scheme}://ann:{password}@db.example/shop")) {
                Ok(shown) => prop_assert!(!shown.contains("ZQX"), "{}", shown),
                Err(error) => prop_assert!(!error.to_string().contains("ZQX")),
            }
        }
    }
}

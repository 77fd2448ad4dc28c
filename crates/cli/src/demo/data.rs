//! The time zone tables, as SQL and as the content that every node must end with.

use std::collections::BTreeMap;

use doltswarm::{Statement, Value};

/// ISO 3166 codes and names, from the IANA time zone database.
const COUNTRIES: &str = include_str!("data/iso3166.tab");
/// Time zones with their countries, from the IANA time zone database.
const ZONES: &str = include_str!("data/zone1970.tab");

/// The tables of the demo.
pub(super) const SCHEMA: [&str; 2] = [
    "CREATE TABLE countries (code VARCHAR(8) PRIMARY KEY, name VARCHAR(100) NOT NULL)",
    "CREATE TABLE zones (name VARCHAR(80) PRIMARY KEY, country VARCHAR(8) NOT NULL, \
     coordinates VARCHAR(40) NOT NULL, comments VARCHAR(200), \
     FOREIGN KEY (country) REFERENCES countries (code))",
];
/// Inserts a country.
const INSERT_COUNTRY: &str = "INSERT INTO countries (code, name) VALUES (?, ?)";
/// Inserts a zone.
const INSERT_ZONE: &str =
    "INSERT INTO zones (name, country, coordinates, comments) VALUES (?, ?, ?, ?)";
/// Reads all zones in the order of [`Zone::cells`].
pub(super) const SELECT_ZONES: &str = "SELECT name, country, coordinates, comments FROM zones";
/// Reads all countries.
pub(super) const SELECT_COUNTRIES: &str = "SELECT code, name FROM countries";

/// A row of `zones`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Zone {
    pub(super) name: String,
    pub(super) country: String,
    pub(super) coordinates: String,
    pub(super) comments: Option<String>,
}

impl Zone {
    /// A zone that the story adds.
    pub(super) fn new(name: &str, country: &str, coordinates: &str) -> Self {
        Self {
            name: name.to_owned(),
            country: country.to_owned(),
            coordinates: coordinates.to_owned(),
            comments: None,
        }
    }

    /// The statement that inserts it.
    pub(super) fn insert(&self) -> Statement {
        Statement::new(INSERT_ZONE, self.cells())
    }

    /// Its cells in the order of the table.
    fn cells(&self) -> Vec<Value> {
        vec![
            self.name.as_str().into(),
            self.country.as_str().into(),
            self.coordinates.as_str().into(),
            self.comments.clone().into(),
        ]
    }
}

/// What every node must hold. The story changes it with every write it makes.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    /// Names by code.
    countries: BTreeMap<String, String>,
    /// Zones by name.
    zones: BTreeMap<String, Zone>,
}

impl Expected {
    /// The tables as the files have them. A zone that several countries share belongs to the first.
    pub(super) fn load() -> Self {
        let countries = lines(COUNTRIES).filter_map(|line| {
            let (code, name) = line.split_once('\t')?;
            Some((code.to_owned(), name.to_owned()))
        });
        let zones = lines(ZONES).filter_map(|line| {
            let mut cells = line.split('\t');
            let (codes, coordinates, name) = (cells.next()?, cells.next()?, cells.next()?);
            let mut zone = Zone::new(name, codes.split(',').next()?, coordinates);
            zone.comments = cells.next().map(str::to_owned);
            Some((zone.name.clone(), zone))
        });
        Self { countries: countries.collect(), zones: zones.collect() }
    }

    /// The statements that make the tables and fill them.
    pub(super) fn statements(&self) -> Vec<Statement> {
        let schema = SCHEMA.iter().map(|sql| Statement::from(*sql));
        let countries = self.countries.iter().map(|(code, name)| {
            Statement::new(INSERT_COUNTRY, vec![code.as_str().into(), name.as_str().into()])
        });
        schema.chain(countries).chain(self.zones.values().map(Zone::insert)).collect()
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.countries.len() + self.zones.len()
    }

    /// Takes note of an inserted zone.
    pub(super) fn add(&mut self, zone: Zone) {
        self.zones.insert(zone.name.clone(), zone);
    }

    /// Takes note of a changed comment.
    pub(super) fn set_comments(&mut self, zone: &str, comments: &str) {
        if let Some(zone) = self.zones.get_mut(zone) {
            zone.comments = Some(comments.to_owned());
        }
    }

    /// Takes note of changed coordinates.
    pub(super) fn set_coordinates(&mut self, zone: &str, coordinates: &str) {
        if let Some(zone) = self.zones.get_mut(zone) {
            zone.coordinates = coordinates.to_owned();
        }
    }

    /// The rows of both tables that `countries` and `zones`, as the node's queries gave them, lack,
    /// have otherwise, or have too many.
    pub(super) fn differences(
        &self,
        countries: &[Vec<Value>],
        zones: &[Vec<Value>],
    ) -> Vec<String> {
        let expected = self
            .countries
            .iter()
            .map(|(code, name)| (code.clone(), vec![code.as_str().into(), name.as_str().into()]));
        let mut found = compare("countries", expected.collect(), countries);
        let expected = self.zones.iter().map(|(name, zone)| (name.clone(), zone.cells()));
        found.extend(compare("zones", expected.collect(), zones));
        found
    }
}

fn compare(
    table: &str,
    mut expected: BTreeMap<String, Vec<Value>>,
    rows: &[Vec<Value>],
) -> Vec<String> {
    let mut found = Vec::new();
    for row in rows {
        let Some(Value::Text(key)) = row.first() else {
            found.push(format!("{table} has a row without a key"));
            continue;
        };
        match expected.remove(key) {
            Some(cells) if cells == *row => {}
            Some(_) => found.push(format!("{table} row {key} has other content")),
            None => found.push(format!("{table} row {key} is one too many")),
        }
    }
    found.extend(expected.into_keys().map(|key| format!("{table} row {key} is missing")));
    found
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows_of(expected: &Expected) -> (Vec<Vec<Value>>, Vec<Vec<Value>>) {
        let countries = expected.countries.iter();
        let countries =
            countries.map(|(code, name)| vec![code.as_str().into(), name.as_str().into()]);
        (countries.collect(), expected.zones.values().map(Zone::cells).collect())
    }

    #[test]
    fn the_files_are_read_whole() {
        let expected = Expected::load();
        assert_eq!(expected.countries.len(), 249);
        assert_eq!(expected.zones.len(), 312);
        assert_eq!(expected.countries["CI"], "Côte d'Ivoire");
        assert_eq!(expected.zones["Asia/Dubai"].country, "AE");
        assert_eq!(expected.zones["Europe/Andorra"].comments, None);
        let known = |zone: &Zone| expected.countries.contains_key(&zone.country);
        assert!(expected.zones.values().all(known));
        assert_eq!(expected.statements().len(), 2 + 249 + 312);
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        let expected = Expected::load();
        let (countries, mut zones) = rows_of(&expected);
        assert_eq!(expected.differences(&countries, &zones), Vec::<String>::new());
        zones.remove(0);
        zones[0][2] = "elsewhere".into();
        zones.push(Zone::new("Mars/Base", "AQ", "+0000+00000").cells());
        let found = expected.differences(&countries, &zones);
        assert_eq!(found.len(), 3, "{found:?}");
        for part in ["missing", "other content", "Mars/Base is one too many"] {
            assert!(found.iter().any(|difference| difference.contains(part)), "{part}");
        }
    }
}

//! Table definitions, compared by meaning and merged part by part.

use super::{Pick, pick};

/// One column, one table constraint, or the options of a table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Part {
    /// The column's name as written; empty for constraints and options.
    pub(crate) name: String,
    /// The part in a form in which equal texts mean the same.
    pub(crate) meaning: String,
    /// The part as SQL.
    pub(crate) sql: String,
}

impl Part {
    fn key(&self) -> String {
        self.name.to_lowercase()
    }

    fn has_primary_key(&self) -> bool {
        self.meaning.contains("primary key")
    }
}

/// Two parts are equal when they mean the same.
impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        self.meaning == other.meaning
    }
}

/// A table's definition.
#[derive(Debug, Clone, Default)]
pub(crate) struct Definition {
    /// The columns in order.
    pub(crate) columns: Vec<Part>,
    /// The table constraints in order.
    pub(crate) constraints: Vec<Part>,
    /// What stands behind the parentheses.
    pub(crate) options: Part,
}

/// Two definitions are equal when they mean the same: the same columns in the same order, the same
/// set of constraints, the same options.
impl PartialEq for Definition {
    fn eq(&self, other: &Self) -> bool {
        self.columns == other.columns
            && self.options == other.options
            && sorted(&self.constraints) == sorted(&other.constraints)
    }
}

fn sorted(parts: &[Part]) -> Vec<&str> {
    let mut meanings: Vec<_> = parts.iter().map(|part| part.meaning.as_str()).collect();
    meanings.sort_unstable();
    meanings.dedup();
    meanings
}

/// What two definitions of one table come to.
#[derive(Debug, Clone)]
pub(crate) struct MergedDefinition {
    /// The definition that stands.
    pub(crate) definition: Definition,
    /// Whether something that ours changed does not stand, so that ours' definition is recorded.
    pub(crate) lost: bool,
}

impl Definition {
    /// Merges two definitions over the one both started from, or over none when both sides created
    /// the table.
    ///
    /// Parts that only one side changed are that side's; added columns and constraints of both
    /// stand; of a part that both changed, theirs' stands. Theirs' columns come first, in their
    /// order. When the parts of two sides cannot go together (two primary keys, no column), theirs'
    /// definition stands as a whole.
    pub(crate) fn merge(base: Option<&Self>, ours: &Self, theirs: &Self) -> MergedDefinition {
        let none = Vec::new();
        let (mut lost, mut columns) = (false, Vec::new());
        let base_columns = base.map_or(&none, |base| &base.columns);
        let find = |parts: &[Part], key: &str| parts.iter().find(|p| p.key() == key).cloned();
        let only_ours =
            ours.columns.iter().filter(|part| find(&theirs.columns, &part.key()).is_none());
        for part in theirs.columns.iter().chain(only_ours) {
            let key = part.key();
            let [base, ours, theirs] =
                [base_columns, &ours.columns, &theirs.columns].map(|parts| find(parts, &key));
            let stands = match pick(base.as_ref(), ours.as_ref(), theirs.as_ref()) {
                Pick::Same | Pick::Theirs => theirs,
                Pick::Ours => ours,
                Pick::Clash => {
                    lost = true;
                    theirs
                }
            };
            columns.extend(stands);
        }
        let base_constraints = base.map_or(&none, |base| &base.constraints);
        let has = |parts: &[Part], part: &Part| parts.iter().any(|other| other == part);
        let only_ours = ours.constraints.iter().filter(|part| !has(&theirs.constraints, part));
        let only_theirs =
            |part: &&Part| has(&ours.constraints, part) || !has(base_constraints, part);
        let constraints = theirs.constraints.iter().filter(only_theirs);
        let constraints: Vec<_> = constraints
            .chain(only_ours.filter(|part| !has(base_constraints, part)))
            .cloned()
            .collect();
        let options = match pick(
            base.map(|base| &base.options),
            Some(&ours.options),
            Some(&theirs.options),
        ) {
            Pick::Ours => ours.options.clone(),
            Pick::Clash => {
                lost = true;
                theirs.options.clone()
            }
            Pick::Same | Pick::Theirs => theirs.options.clone(),
        };
        let definition = Self { columns, constraints, options };
        if definition.is_consistent() {
            return MergedDefinition { definition, lost };
        }
        MergedDefinition { definition: theirs.clone(), lost: true }
    }

    /// Whether the parts can go together as far as can be told without an engine.
    fn is_consistent(&self) -> bool {
        let keys = self.columns.iter().chain(&self.constraints);
        !self.columns.is_empty() && keys.filter(|part| part.has_primary_key()).count() <= 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &str) -> Part {
        let name = text.split(' ').next().unwrap_or("").to_owned();
        Part { name, meaning: text.to_lowercase(), sql: text.to_owned() }
    }

    fn definition(columns: &[&str], constraints: &[&str]) -> Definition {
        let constraint = |text: &&str| Part { name: String::new(), ..part(text) };
        Definition {
            columns: columns.iter().map(|text| part(text)).collect(),
            constraints: constraints.iter().map(constraint).collect(),
            options: Part { name: String::new(), ..part("") },
        }
    }

    fn columns(merged: &MergedDefinition) -> Vec<&str> {
        merged.definition.columns.iter().map(|part| part.sql.as_str()).collect()
    }

    #[test]
    fn added_columns_of_both_sides_stand() {
        let base = definition(&["id int primary key"], &[]);
        let ours = definition(&["id int primary key", "o int"], &[]);
        let theirs = definition(&["id int primary key", "t text"], &["unique (t)"]);
        let merged = Definition::merge(Some(&base), &ours, &theirs);
        assert_eq!(columns(&merged), ["id int primary key", "t text", "o int"]);
        assert_eq!((merged.definition.constraints.len(), merged.lost), (1, false));
    }

    #[test]
    fn a_column_in_two_types_is_theirs() {
        let base = definition(&["id int"], &[]);
        let ours = definition(&["id int", "n int"], &[]);
        let theirs = definition(&["id int", "N text"], &[]);
        let merged = Definition::merge(Some(&base), &ours, &theirs);
        assert_eq!((columns(&merged), merged.lost), (vec!["id int", "N text"], true));
    }

    #[test]
    fn a_wider_definition_created_apart_stands() {
        let narrow = definition(&["id int", "a int"], &[]);
        let wide = definition(&["ID int", "a INT", "b int"], &[]);
        let merged = Definition::merge(None, &wide, &narrow);
        assert_eq!((columns(&merged), merged.lost), (vec!["id int", "a int", "b int"], false));
    }

    #[test]
    fn dropped_parts_go_and_changed_ones_of_theirs_stay() {
        let base = definition(&["id int", "a int", "b int"], &["check (a)", "check (b)"]);
        let ours = definition(&["id int"], &["check (b)"]);
        let theirs = definition(&["id int", "a int", "b text"], &["check (a)"]);
        let merged = Definition::merge(Some(&base), &ours, &theirs);
        assert_eq!((columns(&merged), merged.lost), (vec!["id int", "b text"], true));
        assert!(merged.definition.constraints.is_empty());
    }

    #[test]
    fn two_new_keys_leave_theirs_definition() {
        let base = definition(&["id int primary key"], &[]);
        let ours = definition(&["id int", "u text primary key"], &[]);
        let theirs = definition(&["id int", "k text primary key"], &[]);
        let merged = Definition::merge(Some(&base), &ours, &theirs);
        assert_eq!((columns(&merged), merged.lost), (vec!["id int", "k text primary key"], true));
    }

    #[test]
    fn the_order_of_constraints_means_nothing() {
        let a = definition(&["id int"], &["check (a)", "check (b)"]);
        assert_eq!(a, definition(&["ID int"], &["check (b)", "check (a)"]));
        assert_ne!(a, definition(&["id int"], &["check (b)"]));
    }
}

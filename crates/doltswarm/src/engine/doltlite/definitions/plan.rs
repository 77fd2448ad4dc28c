//! What becomes of each object: decided before anything is written.

use std::collections::{BTreeMap, BTreeSet};

use super::create_table::{self, ForeignKey};
use super::schema::{Kind, Object, Schema, fold_case};
use crate::engine::total::{Definition, Pick, pick};

/// The three schemas of a merge, and the tables whose rows each side changed since the base.
pub(super) struct Sides<'a> {
    /// The base.
    pub(super) base: &'a Schema,
    /// Ours.
    pub(super) ours: &'a Schema,
    /// Theirs.
    pub(super) theirs: &'a Schema,
    /// Tables with rows that ours added, changed or removed; names in lower case.
    pub(super) our_rows: &'a BTreeSet<String>,
    /// The same of theirs.
    pub(super) their_rows: &'a BTreeSet<String>,
}

/// An object of ours, or its absence, that does not stand.
#[derive(Debug, Clone)]
pub(super) struct LostObject {
    /// What kind of object it is.
    pub(super) kind: Kind,
    /// Its name.
    pub(super) name: String,
    /// The statement that created it in the base; `None` when the base has none.
    pub(super) base: Option<String>,
    /// Ours' statement; `None` when ours dropped it.
    pub(super) loser: Option<String>,
    /// The statement that stands; `None` when the object goes.
    pub(super) winner: Option<String>,
}

/// What a merge makes of the schema.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Tables, virtual tables, views and indexes that stand, by name in lower case.
    pub(super) relations: BTreeMap<String, Object>,
    /// Triggers that stand, by name in lower case.
    pub(super) triggers: BTreeMap<String, Object>,
    /// What ours loses.
    pub(super) lost: Vec<LostObject>,
    /// Tables of ours that go although ours changed their rows; names in lower case.
    pub(super) tables_lost: Vec<String>,
}

/// Decides about all objects.
///
/// `is_valid` says whether the engine takes a definition that was put together from parts of both.
pub(super) fn plan(sides: &Sides<'_>, is_valid: &dyn Fn(&str) -> bool) -> Plan {
    let mut plan = Plan::default();
    let names: BTreeSet<_> = [sides.base, sides.ours, sides.theirs]
        .into_iter()
        .flat_map(|schema| schema.relations.keys())
        .collect();
    for name in names {
        plan.decide_relation(sides, name, is_valid);
    }
    let names: BTreeSet<_> = [sides.base, sides.ours, sides.theirs]
        .into_iter()
        .flat_map(|schema| schema.triggers.keys())
        .collect();
    for name in names {
        let [base, ours, theirs] =
            [sides.base, sides.ours, sides.theirs].map(|schema| schema.triggers.get(name));
        if let Some(object) = plan.decide(base, ours, theirs) {
            plan.triggers.insert(name.clone(), object.clone());
        }
    }
    plan.keep_references_sound(sides);
    plan.drop_orphans();
    plan
}

impl Plan {
    fn decide_relation(&mut self, sides: &Sides<'_>, name: &str, is_valid: &dyn Fn(&str) -> bool) {
        let [base, ours, theirs] =
            [sides.base, sides.ours, sides.theirs].map(|schema| schema.relations.get(name));
        let holds_rows = |object: Option<&Object>| {
            object.is_some_and(|object| matches!(object.kind, Kind::Table | Kind::Virtual))
        };
        let stands = match (ours, theirs) {
            (Some(our), Some(their)) if our.kind == Kind::Table && their.kind == Kind::Table => {
                Some(self.decide_table(base, our, their, is_valid))
            }
            // One side dropped what the other has: rows count as a change too.
            (Some(_), None) if holds_rows(ours) && base.is_some() => {
                let changed = ours != base || sides.our_rows.contains(name);
                if changed && ours != base {
                    self.lose(base, ours, None);
                }
                None
            }
            (None, Some(object)) if holds_rows(theirs) && base.is_some() => {
                let changed = theirs != base || sides.their_rows.contains(name);
                let needed = changed || is_needed(sides.base, sides.theirs, name);
                if needed {
                    self.lose(base, None, Some(object));
                }
                needed.then(|| object.clone())
            }
            // Ours put something else in the place of a table that theirs changed.
            (Some(_), Some(object))
                if holds_rows(theirs)
                    && theirs == base
                    && ours != base
                    && sides.their_rows.contains(name) =>
            {
                self.lose(base, ours, theirs);
                Some(object.clone())
            }
            _ => self.decide(base, ours, theirs).cloned(),
        };
        let stays = ours.map(|object| object.kind) == stands.as_ref().map(|object| object.kind);
        if holds_rows(ours) && !stays && (sides.our_rows.contains(name) || base.is_none()) {
            self.tables_lost.push(name.to_owned());
        }
        if let Some(object) = stands {
            self.relations.insert(name.to_owned(), object);
        }
    }

    /// Decides about an object as a whole.
    fn decide<'a>(
        &mut self,
        base: Option<&Object>,
        ours: Option<&'a Object>,
        theirs: Option<&'a Object>,
    ) -> Option<&'a Object> {
        match pick(base, ours, theirs) {
            // Both mean the same; ours is there already.
            Pick::Same | Pick::Ours => ours,
            Pick::Theirs => theirs,
            Pick::Clash => {
                self.lose(base, ours, theirs);
                theirs
            }
        }
    }

    /// Decides about a table that both sides have, part by part.
    fn decide_table(
        &mut self,
        base: Option<&Object>,
        ours: &Object,
        theirs: &Object,
        is_valid: &dyn Fn(&str) -> bool,
    ) -> Object {
        let base = base.filter(|object| object.kind == Kind::Table);
        match pick(base, Some(ours), Some(theirs)) {
            Pick::Same | Pick::Ours => return ours.clone(),
            Pick::Theirs => return theirs.clone(),
            Pick::Clash => {}
        }
        let (Some(our), Some(their)) = (&ours.definition, &theirs.definition) else {
            self.lose(base, Some(ours), Some(theirs));
            return theirs.clone();
        };
        let base_definition = base.and_then(|base| base.definition.as_ref());
        let merged = Definition::merge(base_definition, our, their);
        let sql = create_table::write(&theirs.name, &merged.definition);
        let (stands, lost) = if merged.definition == *their {
            (theirs.clone(), merged.lost)
        } else if merged.definition == *our {
            (ours.clone(), merged.lost)
        } else if is_valid(&sql) {
            (Object::new(Kind::Table, &theirs.name, &theirs.name, &sql), merged.lost)
        } else {
            (theirs.clone(), true)
        };
        if lost {
            self.lose(base, Some(ours), Some(&stands));
        }
        stands
    }

    fn lose(&mut self, base: Option<&Object>, ours: Option<&Object>, stands: Option<&Object>) {
        let Some(named) = ours.or(stands).or(base) else { return };
        let sql = |object: Option<&Object>| object.map(|object| object.sql.clone());
        self.lost.push(LostObject {
            kind: named.kind,
            name: named.name.clone(),
            base: sql(base),
            loser: sql(ours),
            winner: sql(stands),
        });
    }

    /// Makes each foreign key refer to what is there: one without its parent, or without a unique
    /// key there, lets no row be written any more.
    ///
    /// When theirs has the unique index that a key needs, the index stays; else the key goes. One
    /// that names a column that its parent does not have goes too, whoever made it: no engine can
    /// check it.
    fn keep_references_sound(&mut self, sides: &Sides<'_>) {
        let names: Vec<_> = self.relations.keys().cloned().collect();
        for name in names {
            let object = self.relations[&name].clone();
            let Some(definition) = &object.definition else { continue };
            let mut without = definition.clone();
            for key in create_table::foreign_keys(definition) {
                // A key without its unique index on both sides is what its author wanted.
                let was_sound = [sides.ours, sides.theirs]
                    .iter()
                    .any(|schema| schema.table(&name).is_some() && refers(&schema.relations, &key));
                let is_kept = !was_sound && can_be_checked(&self.relations, &key);
                if is_kept || refers(&self.relations, &key) {
                    continue;
                }
                if let Some((name, index)) = index_for(sides.theirs, &key)
                    && self.relations.get(&index.on).is_some_and(|on| on.kind == Kind::Table)
                {
                    self.lose(Some(index), None, Some(index));
                    self.relations.insert(name.clone(), index.clone());
                    continue;
                }
                without = create_table::without_references(&without, &key.parent);
            }
            if without == *definition {
                continue;
            }
            let sql = create_table::write(&object.name, &without);
            let changed = Object::new(Kind::Table, &object.name, &object.name, &sql);
            self.lose(None, Some(&object), Some(&changed));
            self.relations.insert(name, changed);
        }
    }

    /// Indexes go with their table, triggers with their table or view.
    fn drop_orphans(&mut self) {
        let has = |relations: &BTreeMap<String, Object>, on: &str, kinds: &[Kind]| {
            relations.get(on).is_some_and(|object| kinds.contains(&object.kind))
        };
        let relations = self.relations.clone();
        self.relations.retain(|_, object| {
            object.kind != Kind::Index || has(&relations, &object.on, &[Kind::Table])
        });
        self.triggers.retain(|_, object| has(&relations, &object.on, &[Kind::Table, Kind::View]));
    }

    /// The unique indexes of a table that stand.
    pub(super) fn unique_indexes(&self, table: &str) -> Vec<&Object> {
        let of_table = |object: &&Object| object.on == table && object.is_unique_index();
        self.relations.values().filter(of_table).collect()
    }
}

/// Whether the parent of a foreign key is there and has what the key refers to.
fn refers(relations: &BTreeMap<String, Object>, key: &ForeignKey) -> bool {
    let parent = fold_case(&key.parent);
    let Some(definition) = relations.get(&parent).and_then(|object| object.definition.as_ref())
    else {
        return false;
    };
    let indexes = relations
        .values()
        .filter(|object| object.on == parent && object.is_unique_index())
        .map(|object| object.sql.as_str());
    create_table::unique_columns(definition, indexes).contains(&key.columns)
}

/// Whether the parent of a foreign key is a table that has the columns that it names.
fn can_be_checked(relations: &BTreeMap<String, Object>, key: &ForeignKey) -> bool {
    let parent = relations.get(&fold_case(&key.parent));
    let Some(definition) = parent.and_then(|object| object.definition.as_ref()) else {
        return false;
    };
    let has = |name: &String| {
        definition.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name))
    };
    match key.columns.is_empty() {
        true => refers(relations, key),
        false => key.columns.iter().all(has),
    }
}

/// The unique index of a schema that a foreign key refers to.
fn index_for<'a>(schema: &'a Schema, key: &ForeignKey) -> Option<(&'a String, &'a Object)> {
    let parent = fold_case(&key.parent);
    schema.relations.iter().find(|(_, object)| {
        let sql = std::iter::once(object.sql.as_str());
        object.on == parent
            && object.is_unique_index()
            && create_table::unique_columns(&Definition::default(), sql).contains(&key.columns)
    })
}

/// Whether a table of theirs refers to `name` by a key that the base does not have.
fn is_needed(base: &Schema, theirs: &Schema, name: &str) -> bool {
    let refers = |object: &Object| {
        object.definition.as_ref().is_some_and(|definition| {
            create_table::foreign_keys(definition)
                .iter()
                .any(|key| key.parent.eq_ignore_ascii_case(name))
        })
    };
    theirs.relations.iter().any(|(child, object)| {
        child != name && refers(object) && !base.relations.get(child).is_some_and(refers)
    })
}

//! What a run depends on, all of it drawn from a seed, and what happens in it.

use std::collections::BTreeSet;
use std::fmt;

use super::edit::{Edit, SchemaEdit};
use super::root::{
    CHECKED, CHILD, Column, Object, ObjectKind, PARENT, PLAIN, Preset, SMALL, Shape, TABLES, UPPER,
};
use crate::commit::ConflictPolicy;
use crate::node::timers::Jitter;

/// How peers know each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// Everyone with everyone.
    Mesh,
    /// Everyone with the next one.
    Line,
    /// Everyone with the first one.
    Star,
}

impl Topology {
    /// Whether the nodes with these numbers know each other.
    pub fn links(self, a: usize, b: usize) -> bool {
        match self {
            Self::Mesh => a != b,
            Self::Line => a.abs_diff(b) == 1,
            Self::Star => a != b && (a == 0 || b == 0),
        }
    }
}

/// A kind of trouble that a run may have beyond messages that are late, lost or doubled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The network falls apart; splits can lie inside each other.
    Partition,
    /// It falls apart in one direction only.
    OneWay,
    /// Processes are killed and lose what was not durable.
    Crash,
    /// A process comes back at another address.
    Move,
    /// A peer takes its time, and its queue is full.
    Slow,
    /// A node's clock jumps by hours.
    Jump,
    /// Peers go away for long, or join late.
    Absence,
    /// One peer lies.
    Adversary,
    /// Other programs commit on main, or leave uncommitted work there.
    Foreign,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Partition,
        Self::OneWay,
        Self::Crash,
        Self::Move,
        Self::Slow,
        Self::Jump,
        Self::Absence,
        Self::Adversary,
        Self::Foreign,
    ];
}

/// All that a run depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where every random choice comes from.
    pub seed: u64,
    /// How many honest nodes there are.
    pub nodes: usize,
    /// How many things the users and the world do before everything heals.
    pub steps: usize,
    /// How peers know each other.
    pub topology: Topology,
    /// What a conflict does.
    pub policy: ConflictPolicy,
    /// Whether users change schemas in all ways that the model knows; else as real engines beside
    /// the model are asked to.
    pub schemas: bool,
    /// Whether users add columns, and drop tables and create them again.
    pub definitions: bool,
    /// How many of a hundred messages are lost.
    pub loss_percent: u64,
    /// How many of a hundred adverts come twice.
    pub repeat_percent: u64,
    /// How many of a hundred messages take up to fifty times as long.
    pub tail_percent: u64,
    /// How many of a hundred operations of an engine fail.
    pub engine_failure_percent: u64,
    /// The longest a message takes, in milliseconds, unless it is one of the late ones.
    pub delay_max: u64,
    /// The longest a merge or a move of main takes, in milliseconds.
    pub engine_delay_max: u64,
    /// The longest time between two steps, in milliseconds.
    pub pause_max: u64,
    /// What else goes wrong.
    pub faults: BTreeSet<Fault>,
}

impl Options {
    /// A run in which nothing goes wrong.
    pub fn calm(seed: u64, nodes: usize) -> Self {
        Self {
            seed,
            nodes,
            steps: 0,
            topology: Topology::Mesh,
            policy: ConflictPolicy::Settle,
            schemas: false,
            definitions: true,
            loss_percent: 0,
            repeat_percent: 0,
            tail_percent: 0,
            engine_failure_percent: 0,
            delay_max: 20,
            engine_delay_max: 6,
            pause_max: 100,
            faults: BTreeSet::new(),
        }
    }

    /// Draws a run from a seed.
    pub fn random(seed: u64) -> Self {
        let mut random = Jitter::new(seed ^ 0x0070_7469_6f6e_7321);
        let nodes = 2 + random.below(5) as usize;
        let mut options = Self { steps: random.below(32) as usize, ..Self::calm(seed, nodes) };
        options.topology = match random.below(4) {
            0 => Topology::Line,
            1 => Topology::Star,
            _ => Topology::Mesh,
        };
        options.policy =
            if random.below(5) > 0 { ConflictPolicy::Settle } else { ConflictPolicy::Park };
        options.loss_percent = random.below(30);
        options.repeat_percent = random.below(20);
        options.tail_percent = random.below(10);
        options.engine_failure_percent = if random.below(2) == 0 { 0 } else { random.below(20) };
        options.delay_max = 1 + random.below(400);
        options.engine_delay_max = 1 + random.below(100);
        options.pause_max = 1 + random.below(800);
        options.faults = Fault::ALL.into_iter().filter(|_| random.below(3) == 0).collect();
        options.schemas = random.below(3) > 0;
        options
    }

    /// Draws a run that is small enough for real engines: many of them say more than long ones.
    pub fn small(seed: u64) -> Self {
        let drawn = Self::random(seed);
        let (nodes, steps) = (2 + drawn.nodes % 3, 4 + drawn.steps % 12);
        Self { nodes, steps, definitions: false, schemas: false, ..drawn }
    }

    /// Whether the run has this kind of trouble.
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// How many machines there are, the liar among them.
    pub fn machines(&self) -> usize {
        self.nodes + usize::from(self.has(Fault::Adversary))
    }

    /// Draws what happens in the run.
    pub fn script(&self) -> Vec<Step> {
        let mut random = Jitter::new(self.seed ^ 0x0073_6372_6970_7421);
        let steps = (0..self.steps).flat_map(|_| [self.step(&mut random), self.pause(&mut random)]);
        let steps: Vec<Step> = steps.collect();
        // Who joins late is away from the start, with nothing but the founding commit.
        let late = self.has(Fault::Absence) && random.below(2) == 0;
        let late = late.then(|| Step::Leave { node: random.below(self.nodes as u64) as usize });
        late.into_iter().chain(steps).collect()
    }

    fn pause(&self, random: &mut Jitter) -> Step {
        // Mostly short, so that what happens overlaps; sometimes long enough to come to rest.
        let long = if random.below(12) == 0 { 30 } else { 1 };
        Step::Pause { millis: random.below(self.pause_max * long + 1) }
    }

    fn step(&self, random: &mut Jitter) -> Step {
        let node = random.below(self.nodes as u64) as usize;
        let quiet = random.below(20) < 13;
        let faults: Vec<Fault> = self.faults.iter().copied().collect();
        if quiet || faults.is_empty() {
            return Step::Commit { node, edits: self.edits(random), hours: self.hours(random) };
        }
        match faults[random.below(faults.len() as u64) as usize] {
            Fault::Partition | Fault::OneWay if random.below(3) == 0 => Step::Join,
            Fault::Partition => Step::Split { side: random.below(1 << self.nodes), one_way: false },
            Fault::OneWay => Step::Split { side: random.below(1 << self.nodes), one_way: true },
            Fault::Crash => Step::Crash { node, moves: false },
            Fault::Move => Step::Crash { node, moves: true },
            Fault::Slow => Step::Slow { node, millis: random.below(3_000) },
            Fault::Jump => Step::Jump { node, hours: 1 + random.below(48) },
            Fault::Absence => Step::Leave { node },
            Fault::Adversary => Step::Lie { to: node },
            Fault::Foreign if random.below(2) == 0 => Step::Dirty { node },
            Fault::Foreign => Step::Foreign { node, edits: self.edits(random) },
        }
    }

    fn edits(&self, random: &mut Jitter) -> Vec<Edit> {
        let count = 1 + random.below(2);
        let edit = |_| match self.schemas {
            true if random.below(3) == 0 => Edit::Schema(schema_edit(random)),
            true => in_any_table(random_edit(random), random),
            false => match random_edit(random) {
                Edit::AddColumn { .. } | Edit::ToggleTable { .. } if !self.definitions => {
                    Edit::Resolve
                }
                edit => edit,
            },
        };
        (0..count).map(edit).collect()
    }

    /// By how many hours a wall clock is wrong.
    fn hours(&self, random: &mut Jitter) -> i64 {
        if self.has(Fault::Jump) { random.below(97) as i64 - 48 } else { 0 }
    }
}

/// One thing that users or the world do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A user commits.
    Commit {
        /// Where.
        node: usize,
        /// What.
        edits: Vec<Edit>,
        /// By how many hours the date is wrong.
        hours: i64,
    },
    /// Another program commits on main; the node notices later.
    Foreign {
        /// Where.
        node: usize,
        /// What.
        edits: Vec<Edit>,
    },
    /// Another program leaves uncommitted work on main, or takes it away.
    Dirty {
        /// Where.
        node: usize,
    },
    /// The process is killed and started again.
    Crash {
        /// Which.
        node: usize,
        /// Whether it comes back at another address.
        moves: bool,
    },
    /// The network falls apart.
    Split {
        /// The nodes on one side, as bits.
        side: u64,
        /// Whether this side still reaches the other.
        one_way: bool,
    },
    /// The network is whole again, and who was away is back.
    Join,
    /// The node takes so long for everything from now on.
    Slow {
        /// Which.
        node: usize,
        /// How long.
        millis: u64,
    },
    /// The node's clock jumps.
    Jump {
        /// Which.
        node: usize,
        /// How far.
        hours: u64,
    },
    /// The node goes away, or comes back.
    Leave {
        /// Which.
        node: usize,
    },
    /// The liar sends what was not asked for.
    Lie {
        /// To whom.
        to: usize,
    },
    /// Nothing happens for a while.
    Pause {
        /// How long.
        millis: u64,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

fn random_edit(random: &mut Jitter) -> Edit {
    let mut below = |bound: u64| random.below(bound) as u8;
    let (table, key) = (below(u64::from(TABLES)), below(6));
    match below(20) {
        0..13 => {
            let column = below(3);
            let value = match (table, column) {
                (PARENT, 1) => below(5),
                (CHILD, 1) => below(6),
                (CHECKED, _) => below(8),
                _ => below(100),
            };
            Edit::Set { table, key, column, value }
        }
        13..16 => Edit::Delete { table, key },
        16 => Edit::AddColumn { table, column: 2, kind: below(2) },
        17 => Edit::ToggleTable { table: PLAIN },
        _ => Edit::Resolve,
    }
}

/// How many names there are beyond the tables with rules: tables, views and triggers contend for
/// them.
const NAMES: u64 = 4;

fn any_name(random: &mut Jitter) -> u8 {
    let name = PLAIN + random.below(NAMES) as u8;
    if random.below(2) == 0 { name } else { name | UPPER }
}

/// Turns what would happen to the table without rules to one of several, in either letter case.
fn in_any_table(edit: Edit, random: &mut Jitter) -> Edit {
    match edit {
        Edit::Set { table: PLAIN, key, column, value } => Edit::Set {
            table: any_name(random),
            key,
            column: column + random.below(3) as u8,
            value,
        },
        Edit::Delete { table: PLAIN, key } => Edit::Delete { table: any_name(random), key },
        Edit::ToggleTable { .. } => Edit::ToggleTable { table: any_name(random) },
        edit => edit,
    }
}

fn schema_edit(random: &mut Jitter) -> SchemaEdit {
    let name = any_name(random);
    let table = if random.below(4) == 0 { random.below(u64::from(TABLES)) as u8 } else { name };
    let column = random.below(5) as u8;
    let kind = random.below(u64::from(SMALL) + 1) as u8;
    let preset = match random.below(3) {
        0 => Some(Preset::Literal(random.below(40) as u8)),
        1 => Some(Preset::Evaluated),
        _ => None,
    };
    let definition = Column { kind, preset };
    match random.below(12) {
        0 | 1 => {
            let mut shape = Shape { columns: [(0, Column::default())].into(), ..Shape::default() };
            shape.columns.insert(column, definition);
            SchemaEdit::Create { table, shape }
        }
        2 => SchemaEdit::RenameCase { name },
        3 | 4 => SchemaEdit::AddColumn { table, column, definition },
        5 => SchemaEdit::DropColumn { table, column },
        6 => SchemaEdit::Retype { table, column, kind },
        7 => SchemaEdit::AddUnique { table, column },
        8 => SchemaEdit::Drop { name },
        kind => {
            let kind = if kind < 11 { ObjectKind::View } else { ObjectKind::Trigger };
            let target = PLAIN + random.below(NAMES) as u8;
            SchemaEdit::Make { name, object: Object { kind, target, column: column % 2 } }
        }
    }
}

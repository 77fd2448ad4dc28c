//! Every bound in one place: what it limits, in which unit, and why this number.

use std::time::Duration;

/// How many bytes a hash of the engine has.
pub const HASH_BYTES: usize = 20;

// The graph and the fold.

/// How many commits one message names at most: a page of heads, what is wanted, what is had. More
/// heads travel in several pages.
pub const HEADS_PER_MESSAGE_MAX: usize = 1_024;
/// Up to how many heads an advert names all of them; of more, only those that are new to the
/// receiver. An advert costs 20 bytes for each, and few swarms ever have more heads.
pub const HEADS_ADVERTISED_MAX: usize = 64;
/// How many heads a pull names as what is here: the newest of more. It only saves bytes.
pub const SAMPLE_HEADS_MAX: usize = HEADS_PER_MESSAGE_MAX / 2;
/// How many heads of one peer are waited for at once; the next page is asked for when they are
/// here.
pub const UNKNOWN_HEADS_MAX: usize = 4 * HEADS_PER_MESSAGE_MAX;
/// How many concurrent heads of one key take part in the fold, highest first; the others are set
/// aside. Each costs a merge whenever the fold begins anew, and a writer that has met its own
/// commits has one. 64 leaves room for a key that is used on several machines.
pub const CONCURRENT_HEADS_MAX: usize = 64;
/// How many signatures of one commit are kept, those of the lowest keys. More than one only comes
/// about if databases are copied, or by malice.
pub const SIGNATURES_PER_COMMIT_MAX: usize = 4;
/// How many signatures one peer may list at a time.
pub const SIGNATURES_LISTED_MAX: usize = PULL_COMMITS_MAX * SIGNATURES_PER_COMMIT_MAX;
/// How long a peer that knows other signatures is not asked for them again: its answer is as long
/// as the history, and signatures differ only if databases or stores were copied.
pub const SIGNATURES_ASKED_INTERVAL: Duration = Duration::from_secs(60);
/// How many commits one pull may bring from one peer before it is refused. A first clone is not a
/// pull.
pub const PULL_COMMITS_MAX: usize = 1_000_000;
/// How many steps one walk may take to see what builds on what. Honest histories take about ten for
/// each commit; this is seconds of work for a tangled one.
pub const WALK_STEPS_MAX: usize = 64 << 20;
/// How many commits are read from the database at once on the way back from a new one.
pub const COMMITS_READ_AHEAD_MAX: usize = 256;
/// How many merges are remembered in memory; a forgotten one is only made again.
pub const MERGES_REMEMBERED_MAX: usize = 65_536;
/// How many impossible merges the engine remembers by what they depend on, under the policy `park`;
/// a forgotten one is only tried again. More heads than 64 keys have in a fold.
pub const REFUSALS_REMEMBERED_MAX: usize = 4_096;
/// How often in a row a fold is begun anew for newer heads before it is known. More would merge
/// less in vain; without a limit a busy swarm would never move main. Also, how often in a row
/// commits made here may come before main is at the fold; then they are held back.
pub const FOLD_RESTARTS_MAX: u32 = 3;

/// How often in a row the engine must fail to merge or to move main before people are told: once
/// may be another program's lock.
pub const ENGINE_FAILURES_SHOWN_MIN: u32 = 3;

// Peers, adverts and timers.

/// How many peers a node keeps the heads of. Beyond it the least recently seen is forgotten.
pub const PEERS_MAX: usize = 1_024;
/// How many peers are named as told in one advert.
pub const ADVERT_TOLD_MAX: usize = 256;
/// How many pulls run at once.
pub const PULLS_AT_ONCE_MAX: usize = 4;
/// How many heads are remembered as known to one peer beside those that are ours.
pub const KNOWN_HEADS_MAX: usize = UNKNOWN_HEADS_MAX;
/// How often each peer is asked for its heads, before jitter of up to a half.
pub const ANTI_ENTROPY_INTERVAL: Duration = Duration::from_secs(10);
/// The first wait after a failure; it doubles up to [`RETRY_DELAY_MAX`], with jitter of up to a
/// half.
pub const RETRY_DELAY_MIN: Duration = Duration::from_millis(100);
/// The longest wait between retries.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(15);
/// How long after telling a peer it is asked whether it has arrived, before jitter of up to a half.
pub const CONFIRM_DELAY: Duration = Duration::from_secs(1);
/// How long heads that failed verification are left alone the first time; it doubles up to
/// [`REJECTED_RETRY_DELAY_MAX`], until the peer is in step or the membership changes.
pub const REJECTED_RETRY_DELAY_MIN: Duration = Duration::from_secs(1);
/// The longest that heads that failed verification are left alone.
pub const REJECTED_RETRY_DELAY_MAX: Duration = Duration::from_secs(600);
/// How long two mains must differ at equal heads before the engines are said to disagree: folding
/// is much faster.
pub const DISAGREEMENT_DELAY: Duration = Duration::from_secs(5);
/// How many processes of a peer are remembered by the numbers of their hellos.
pub const LIVES_REMEMBERED_MAX: usize = 8;
/// How long hellos of a peer are refused after two processes were seen to use its key. Longer than
/// a peer waits between two dials, so that both are told.
pub const COPY_REFUSED_FOR: Duration = Duration::from_secs(30);
/// How long main waits before it looks again whether another program's uncommitted work is gone.
pub const DIRTY_RETRY_DELAY: Duration = Duration::from_millis(250);

// Neighbours, in swarms that are too large for everyone to be linked to everyone.

/// Up to how many known peers a node is linked to all of them: then a commit is one hop from
/// everyone. Beyond it links, and what they cost while nothing happens, would grow with the square
/// of the swarm.
pub const NEIGHBOURS_FULL_MESH_MAX: usize = 8;
/// One in how many peers is a hub, which passes news on for others. With links as below a commit
/// costs a message for each peer, and three for each four peers more for the flood among hubs. With
/// more hubs that would be over two messages a peer; with fewer, each had more others to tell.
pub const HUB_SHARE: u8 = 5;
/// How many other hubs a hub dials up to. A random graph of so many links has a way of four or
/// five hops between any two of 2,000 hubs, and stays in one piece when a third of them die at
/// once.
pub const HUB_NEIGHBOURS_TARGET: usize = 8;
/// How many hubs another node dials up to: one to be told by, and one in reserve.
pub const UPLINKS_TARGET: usize = 2;
/// Over how many links a node that is linked to no hub wants to be told: three of each join
/// everyone, and a flood over them costs about two messages a peer.
pub const STAND_IN_LINKS: usize = 3;
/// How many neighbours a node dials up to, hubs among them.
pub const NEIGHBOURS_TARGET: usize = 4;
/// How many neighbours a node keeps, those that dialled it included; beyond it some are let go.
pub const NEIGHBOURS_MAX: usize = 10;
/// How many neighbours a hub keeps: the hubs that it looks for, those that dialled it, and
/// [`UPLINKS_TARGET`] links of each of the four others that there are for each hub, with room to
/// spare.
pub const HUB_NEIGHBOURS_MAX: usize = 20;
/// How long a node has too many neighbours before it lets one go: a visit is over by then.
pub const NEIGHBOURS_EXCESS_DELAY: Duration = Duration::from_secs(5);
/// How often a node with enough neighbours makes a new link at random, or ends one that it does not
/// need, before jitter of up to a half. So parts of a swarm that were apart find each other again.
/// Also how long a peer is left alone whose link did not last so long.
pub const NEIGHBOUR_SWAP_INTERVAL: Duration = Duration::from_secs(30);
/// How often a hub does that while it is new, before jitter of up to a half: the first hubs that it
/// hears of are near to each other, and its links must go everywhere for ways to be short.
pub const HUB_QUICK_SWAP_INTERVAL: Duration = Duration::from_secs(8);
/// How many times a hub does that so often: for about five minutes, until it has heard of hubs from
/// everywhere, and each link was renewed.
pub const HUB_QUICK_SWAPS_MAX: u32 = 30;
/// How many peers a node keeps in mind to dial; of more it keeps a random choice. All are known to
/// fail before this many do.
pub const DIAL_TARGETS_MAX: usize = 256;
/// How many peers' addresses a node with a partial view tells at each answer to a request for
/// heads.
pub const PEER_RECORDS_SHARED: usize = 8;
/// How long heads that the regular question showed are left to those who may be about to tell them,
/// before they are pulled and that peer is asked to tell from then on. Longer than a commit takes
/// to everyone in a large swarm, else questions race with adverts.
pub const GRAFT_DELAY: Duration = Duration::from_secs(3);
/// How many heads are remembered with who told them first.
pub const TELLERS_MAX: usize = 2 * HEADS_PER_MESSAGE_MAX;
/// How many peers that are not neighbours are visited at once, where a person wants to know.
pub const VISITS_AT_ONCE_MAX: usize = 8;

// Messages.

/// The largest control message, in bytes: twice [`HEADS_PER_MESSAGE_MAX`] commits, or so many and
/// [`ADVERT_TOLD_MAX`] peers, fit.
pub const CONTROL_MESSAGE_BYTES_MAX: usize = 64 << 10;
/// How many signed commits travel in one message.
pub const COMMITS_PER_MESSAGE_MAX: usize = 512;
/// How many hashes one request for chunks may name.
pub const CHUNKS_PER_REQUEST_MAX: usize = 4_096;
/// How many bytes of chunks a peer sends unasked as the difference of two commits; beyond it the
/// asker goes on level by level.
pub const DIFFERENCE_BYTES_MAX: usize = 256 << 20;
/// How many commits of the asker a difference is made against: those that differ least.
pub const DIFFERENCE_BASES_MAX: usize = 4;
/// How many chunks are read to find out what the asker has before the difference is cut short.
pub const DIFFERENCE_BASE_CHUNKS_MAX: usize = 65_536;
/// How many batches of a difference wait for the network.
pub const DIFFERENCE_BATCHES_WAITING_MAX: usize = 2;
/// About how many bytes of chunks travel in one message. A connection that breaks loses the message
/// under way, so 20 breaks of a join lose half of 640 KiB. The cost of a message is some 20 bytes.
pub const CHUNK_MESSAGE_BYTES: usize = 32 << 10;
/// The largest piece of a chunk in one message, in bytes; a larger chunk comes in several.
pub const CHUNK_PIECE_BYTES_MAX: usize = 256 << 10;
/// About how many bytes of chunks are read from the store at once to be sent: reading in smaller
/// parts costs time, and in larger ones memory for each peer that asks.
pub const CHUNK_READ_BYTES: usize = 256 << 10;
/// The largest chunk that travels, in bytes: the largest that DoltLite can make, so that what a
/// merge puts side by side can travel too. Prolly nodes have a few KiB, but a row is in one chunk,
/// at most two large ones are in the same, and DoltLite takes no row above 10⁹ bytes.
pub const CHUNK_BYTES_MAX: usize = i32::MAX as usize;
/// The largest chunk that may be committed, in bytes. Of two rows that are each in such a chunk a
/// merge may make one, which then is below [`CHUNK_BYTES_MAX`].
pub const WRITTEN_CHUNK_BYTES_MAX: usize = 1_000 << 20;
/// The longest name of a peer, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// How many addresses of one peer are kept.
pub const ADDRESSES_PER_PEER_MAX: usize = 8;
/// How many peer records travel in one reply.
pub const PEER_RECORDS_MAX: usize = 256;
/// How many grants of one granter count, those with the lowest hashes. More than any admin invites
/// by hand; each takes about 300 bytes of memory and is checked at every start.
pub const GRANTS_PER_GRANTER_MAX: usize = 4_096;
/// How many granters that are no admins have their grants kept until they are, those with the
/// lowest keys. Such grants are never passed on, so a stranger who fills this hurts nobody: grants
/// are sent in an order in which none has to wait.
pub const PENDING_GRANTERS_MAX: usize = 16;
/// How many grants one message carries; more travel in several.
pub const GRANTS_PER_MESSAGE_MAX: usize = 1_024;
/// How many grants are taken from one peer at a time. What it has beyond that comes when it is
/// asked again.
pub const GRANTS_LISTED_MAX: usize = 64 * GRANTS_PER_MESSAGE_MAX;
/// The largest encoded grant, in bytes.
pub const GRANT_BYTES_MAX: usize = 512;

// Time on the network.

/// How long a dial may take.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a small call may take.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a transfer may go without a byte arriving.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(10);

// The library.

/// How many of the newest user commits have their signature as a tag of the database. Every tag
/// costs at each commit, because the engine writes all refs anew.
pub const SIGNATURE_TAGS_MAX: usize = 16;
/// From how many bytes on a text or a blob is recorded in `swarm_conflicts` by its length and hash:
/// a record stays small whatever the row holds, and the value can be read back from history.
pub const RECORDED_VALUE_BYTES_MAX: usize = 4 << 10;
/// How many events a slow listener may lag behind before it loses the oldest.
pub const EVENTS_BUFFERED_MAX: usize = 1_024;
/// How many rows one query returns at most.
pub const QUERY_ROWS_MAX: usize = 1_000_000;
/// How many rows a live query has at most: they are kept, and compared at each move of main.
pub const LIVE_QUERY_ROWS_MAX: usize = 100_000;
/// How many digits the beginning of a commit's hash has at least. Fewer are mostly a slip of the
/// pen, and fit several commits in any swarm of some size.
pub const REVISION_PREFIX_MIN: usize = 4;
/// How many commits under main are looked through for one whose hash begins so, if no user commit
/// does. It bounds the time of one question to some seconds; older merges have to be named in full.
pub const REVISION_SEARCH_MAX: usize = 100_000;
/// The longest commit message, in bytes. DoltLite takes 64 KiB for the whole commit, its author and
/// parents included.
pub const COMMIT_MESSAGE_BYTES_MAX: usize = 60 << 10;
/// The most SQL one exec takes, in bytes.
pub const SQL_BYTES_MAX: usize = 256 << 20;

// Checks of content, and how long work on the database may take.

/// How many steps of the engine it may take to prepare all views and triggers of a schema. Large
/// real schemas take thousands; one that nests views to no end has no bound.
pub const INSPECT_STEPS_MAX: u64 = 20_000_000;
/// How long that may take.
pub const INSPECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How many schemas are remembered with what is wrong with them; a forgotten one is only opened
/// again.
pub const SCHEMAS_KNOWN_MAX: usize = 64;
/// How long users' statements, and the commit of what they did, may take if the caller names no
/// limit: loading [`SQL_BYTES_MAX`] takes a minute or two on a slow machine. They keep every other
/// write waiting, and a trigger or a view that someone committed may have no end.
pub const EXEC_TIMEOUT: Duration = Duration::from_secs(300);
/// How long one merge may take before its head is set aside here. Merging a million changed rows
/// takes about a minute.
pub const MERGE_TIME_MAX: Duration = Duration::from_secs(600);
/// After how many deaths of the process in the merge of one head that head is set aside here. One
/// may be a person's or the machine's doing.
pub const MERGE_DEATHS_MAX: u32 = 2;
/// How long any other work on the engine thread may take: fetching or collecting a large database
/// takes minutes.
pub const ENGINE_JOB_TIMEOUT: Duration = Duration::from_secs(1_800);
/// How long work on the database may go on while the node closes. What is interrupted then leaves
/// the database as it was.
pub const CLOSE_GRACE: Duration = Duration::from_secs(2);
/// How many commits are walked to find the newest one that can be opened when main cannot.
pub const RESCUE_COMMITS_MAX: usize = 1_024;

// Invites and waiting.

/// How many bytes a ticket's secret has.
pub const INVITE_SECRET_BYTES: usize = 16;
/// How long a pull that the application asked for is waited for.
pub const PULL_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a wait asks the peers again for their heads.
pub const WAIT_INTERVAL: Duration = Duration::from_millis(50);
/// How long a status waits for neighbours to say whether they are in step.
pub const STATUS_PATIENCE: Duration = Duration::from_millis(250);
/// How long a status waits for a database that is busy or hangs, before it says so instead.
pub const STATUS_ENGINE_PATIENCE: Duration = Duration::from_secs(10);
/// How long opening a node waits for main to become the fold of the heads.
pub const SETTLE_AT_OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a user's write waits for the fold under way, where writes come so fast that main never
/// gets to the fold.
pub const WRITE_HOLD_MAX: Duration = Duration::from_secs(1);

// The node's directory: its store, configuration, gateway and staging.

/// How much memory the node's store keeps its pages in, in bytes. redb's own default is 1 GiB.
pub const STORE_CACHE_BYTES: usize = 16 << 20;
/// How many of the node's own commits may wait in memory for the store before they are written.
pub const STORE_PENDING_MAX: usize = 1_024;
/// The longest reason kept for a merge that is impossible or a head that was rejected, in bytes.
pub const REASON_BYTES_MAX: usize = 4 << 10;
/// The longest address of a peer, in bytes: a host name has at most 253, and a port.
pub const ADDRESS_BYTES_MAX: usize = 264;
/// How finely the store keeps when a peer was last seen. A disk sync for less would buy nothing.
pub const LAST_SEEN_GRAIN: Duration = Duration::from_secs(60);
/// How many invites a node keeps. Used and expired ones make room first.
pub const INVITES_MAX: usize = 1_024;
/// How many rejected heads a node remembers; a forgotten one is only fetched and rejected again.
pub const REJECTED_MAX: usize = 4_096;
/// The largest `config.toml`, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 64 << 10;
/// The longest text that is looked at as a ticket, in bytes. One with all addresses has about 430.
pub const TICKET_TEXT_BYTES_MAX: usize = 2 << 10;
/// How many connections the gateway has at once. The engine uses one for each fetch.
pub const GATEWAY_CONNECTIONS_MAX: usize = 32;
/// The largest head of a request to the gateway, in bytes. The engine's have about 200.
pub const GATEWAY_HEADER_BYTES_MAX: usize = 8 << 10;
/// The largest reply of the gateway, in bytes: the engine's client takes no more.
pub const GATEWAY_REPLY_BYTES_MAX: usize = 1 << 30;
/// How many bytes the engine takes with its own fetch, which holds them in memory three times over;
/// more is put into the database chunk by chunk.
pub const INGEST_BY_FETCH_BYTES_MAX: u64 = 8 << 20;
/// How many bytes of chunks are put into the database before they are made durable. Other writers
/// wait meanwhile, about a tenth of a second; with less, the disk is synced more often.
pub const INTAKE_BATCH_BYTES: u64 = 16 << 20;
/// How long chunks wait for another writer to end, as statements do.
pub const INTAKE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client of the gateway may take to send one request, from its first byte to its last.
pub const GATEWAY_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection to the gateway may say nothing between two requests.
pub const GATEWAY_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How many bytes of arrived chunks wait in memory before they go to the staging file. What a small
/// pull brings never touches the disk; where the process is killed no more than this is fetched
/// again.
pub const STAGING_MEMORY_BYTES: usize = 256 << 10;
/// After how many further bytes the progress of a join is told: it is shown some times a second.
pub const PROGRESS_BYTES: u64 = 1 << 20;
/// How many chunks may be staged: the index takes about 64 bytes of memory for each.
pub const STAGING_CHUNKS_MAX: usize = 16 << 20;
// Connections.

/// How often an idle connection shows that it lives. Must be well below [`IDLE_TIMEOUT`].
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// How long a connection may be silent before it counts as lost: three lost signs of life and a
/// little.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(8);
/// How long opening a stream on a live connection may take; longer means that the peer's limit of
/// streams is used up.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait for the connection that took the place of another: the two arrive separately.
pub const REPLACEMENT_WAIT: Duration = Duration::from_millis(250);
/// How long an inbound handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// How many inbound handshakes run at once; beyond it they are refused unread.
pub const HANDSHAKES_AT_ONCE_MAX: usize = 64;
/// How many inbound handshakes run at once before an address must first prove that it is real.
pub const HANDSHAKES_UNPROVEN_MAX: usize = 16;
/// How many peers are connected at once.
pub const CONNECTIONS_MAX: usize = PEERS_MAX;
/// How many streams the other side may have open on one connection. It needs two.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 8;
/// How many bytes of one connection are buffered before its sender must wait.
pub const CONNECTION_RECEIVE_WINDOW_BYTES: u32 = 8 << 20;
/// How many unacknowledged bytes one connection keeps.
pub const CONNECTION_SEND_WINDOW_BYTES: u64 = 4 << 20;
/// How many calls one stream may carry at once. Clients assume 100 until they are told otherwise,
/// so less than that loses calls.
pub const CALLS_PER_STREAM_MAX: u32 = 128;
/// How many calls of one stream are worked on at once; the others wait.
pub const CALLS_AT_ONCE_MAX: usize = 16;
/// How many bytes of one call are buffered before its sender must wait.
pub const CALL_WINDOW_BYTES: u32 = 4 << 20;
/// The largest HTTP/2 frame, in bytes.
pub const FRAME_BYTES_MAX: u32 = 1 << 20;
/// The largest set of HTTP/2 headers, in bytes.
pub const HEADER_BYTES_MAX: u32 = 16 << 10;
/// How many streamed answers one connection may be reading at once.
pub const STREAMED_ANSWERS_MAX: usize = 8;

// The sizes of messages that are not control messages.

/// The largest message of signed commits, in bytes: [`COMMITS_PER_MESSAGE_MAX`] of 125 bytes fit.
pub const COMMITS_MESSAGE_BYTES_MAX: usize = 128 * COMMITS_PER_MESSAGE_MAX + 1_024;
/// The largest message of grants, in bytes: [`GRANTS_PER_MESSAGE_MAX`] of [`GRANT_BYTES_MAX`] fit.
pub const GRANTS_MESSAGE_BYTES_MAX: usize = GRANTS_PER_MESSAGE_MAX * (GRANT_BYTES_MAX + 8) + 4_096;
/// The largest request for chunks, in bytes: [`CHUNKS_PER_REQUEST_MAX`] hashes fit.
pub const CHUNK_REQUEST_BYTES_MAX: usize = CHUNKS_PER_REQUEST_MAX * (HASH_BYTES + 2) + 1_024;
/// The largest message of chunks, in bytes: a full batch with the hashes of
/// [`CHUNKS_PER_REQUEST_MAX`] absent chunks.
pub const CHUNK_REPLY_BYTES_MAX: usize =
    CHUNK_MESSAGE_BYTES + CHUNK_PIECE_BYTES_MAX + CHUNKS_PER_REQUEST_MAX * 64;
/// How many chunks are read from the store at once to be sent: what a slow reader can make a node
/// hold in memory.
pub const CHUNKS_READ_AT_ONCE_MAX: usize = 64;
/// How long a peer that asks for a chunk that seems to be missing waits for the engine to be
/// between two jobs, when it is looked for again.
pub const CHUNK_PATIENCE: Duration = Duration::from_secs(2);
/// From how many bytes on a chunk is hashed on a thread of its own, so that other work goes on.
pub const CHUNK_HASH_ASIDE_BYTES: usize = 1 << 20;
/// The longest version of an engine, in bytes.
pub const ENGINE_VERSION_BYTES_MAX: usize = 64;
/// The longest reason for a refusal, in bytes.
pub const REFUSAL_BYTES_MAX: usize = 512;

// The door.

/// How many strangers may stand at the door at once.
pub const DOOR_CONNECTIONS_MAX: usize = 16;
/// How long a stranger may stand at the door.
pub const DOOR_TIMEOUT: Duration = Duration::from_secs(5);
/// How many strangers may ask in quick succession.
pub const DOOR_BURST: u32 = 32;
/// How many strangers a second may ask in the long run.
pub const DOOR_RATE: u32 = 8;
/// The largest message of a stranger, in bytes.
pub const DOOR_MESSAGE_BYTES_MAX: usize = 1 << 10;

// A Dolt server beside the node.

/// How long connecting to the Dolt server may take.
pub const DOLT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one statement may take the Dolt server: collecting garbage in a large database takes
/// minutes.
pub const DOLT_STATEMENT_TIMEOUT: Duration = Duration::from_secs(1_800);
/// How long saying goodbye to the Dolt server may take.
pub const DOLT_GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// After how long without use a connection to the Dolt server is tried before it is used.
pub const DOLT_IDLE_CHECK_AFTER: Duration = Duration::from_secs(1);
/// How often an exec or a catch-up commit looks again whether other programs' work is committed by
/// now, a millisecond later each time, before it gives up.
pub const DOLT_DIRTY_WAITS_MAX: u32 = 20;
/// How often one move of main commits what another program has left uncommitted since.
pub const AUTO_COMMITS_MAX: u32 = 8;
/// How many commits a connection to the Dolt server remembers.
pub const DOLT_COMMITS_KNOWN_MAX: usize = 1_024;
/// How often a statement is run again where another program was faster on the same branch.
pub const DOLT_RACES_MAX: u32 = 100;
/// How often work on a branch that only this node uses is tried if the Dolt server calls itself
/// busy: nobody else is in its way there, and the server loses sight of a database for a moment
/// only.
pub const DOLT_BUSY_TRIES_MAX: u32 = 5;
/// How long a move of main waits for the lock that cooperating programs take, in whole seconds.
pub const DOLT_LOCK_WAIT_SECS: i64 = 10;
/// How many rows one statement of a merge removes or copies: each has its key in the statement's
/// text.
pub const DOLT_ROWS_BATCH: usize = 128;
/// How many commits are looked at to see whether a move of main leaves any work behind.
pub const DOLT_LEFT_BEHIND_MAX: usize = 1_024;

// Dolt's files and chunks.

/// The largest chunk of Dolt, in bytes: the length in front of its messages has 24 bits.
pub const DOLT_CHUNK_BYTES_MAX: usize = (16 << 20) + 4;
/// How many chunks one file of a Dolt store may hold: its index takes 36 bytes of memory for each.
pub const DOLT_FILE_CHUNKS_MAX: usize = 16 << 20;
/// The largest manifest of a Dolt store, in bytes. Dolt joins files from 256 on, of 44 bytes each.
pub const DOLT_MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// The largest index of an archive of Dolt, in bytes: [`DOLT_FILE_CHUNKS_MAX`] chunks of 28 bytes,
/// each with a span of its own.
pub const DOLT_ARCHIVE_INDEX_BYTES_MAX: u64 = 36 * DOLT_FILE_CHUNKS_MAX as u64 + (1 << 20);
/// The largest dictionary of an archive of Dolt, in bytes. Dolt makes them of a few KiB.
pub const DOLT_DICTIONARY_BYTES_MAX: usize = 8 << 20;
/// How many dictionaries of one archive are kept unpacked.
pub const DOLT_DICTIONARIES_CACHED_MAX: usize = 64;
/// How many chunks one fetch may bring into a Dolt database: what is known of each takes about 100
/// bytes of memory while the inbox is filled.
pub const DOLT_INBOX_CHUNKS_MAX: usize = 8 << 20;
/// How many chunks are asked for at once while the inbox is filled. They are in memory together,
/// and most have a few KiB.
pub const DOLT_INBOX_BATCH: usize = 64;
/// Up to which size a file of a spool counts as small, in bytes: joining it costs reading it once.
pub const DOLT_SPOOL_SMALL_BYTES: u64 = 1 << 20;
/// How many small files a spool may have before they are joined: each is asked for every chunk.
pub const DOLT_SPOOL_SMALL_FILES_MAX: usize = 64;
/// How often a spool is looked at anew where its files change under the reader's hands.
pub const DOLT_SPOOL_TRIES_MAX: usize = 8;
/// How many keys a node of a set of ancestors has at most when it is written here: 28 bytes each,
/// or 48 with a child, so that a node has at most the 16 KiB that Dolt's have.
pub const DOLT_CLOSURE_NODE_KEYS_MAX: usize = 320;
/// How long a Dolt server of one's own may take to answer after its start, on a busy machine.
pub const DOLT_START_TIMEOUT: Duration = Duration::from_secs(120);
/// How many ports are looked at to find one for a server of one's own.
pub const DOLT_PORTS_TRIED_MAX: u32 = 100;
/// How often it is tried to start one on another port, where somebody took the first one meanwhile.
pub const DOLT_START_ATTEMPTS_MAX: u32 = 5;

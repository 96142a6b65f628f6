-- Version 1. Published once it is released: then changes are a new file, never an edit.

-- Single numbers: head (newest position), number (newest delivery), routing (generation of the subscriptions),
-- clean (1 after a clean close).
CREATE TABLE counters(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES ('head', 0), ('number', 0), ('routing', 0), ('clean', 1);

-- The log. `event` comes last: a scan that looks at the columns before it does not read the pages of large events.
CREATE TABLE events(
  seq INTEGER PRIMARY KEY,
  identity BLOB NOT NULL,
  accepted INTEGER NOT NULL,
  ty TEXT NOT NULL,
  source TEXT NOT NULL,
  id TEXT NOT NULL,
  subject TEXT,
  project TEXT,
  stage TEXT,
  service TEXT,
  run TEXT,
  triggered_id TEXT,
  caused_by BLOB,
  depth INTEGER NOT NULL,
  actor TEXT NOT NULL,
  crc INTEGER NOT NULL,
  event BLOB NOT NULL
) STRICT;
-- Not unique: two identities may share a hash, and the writer compares in full. The hash of the id comes first, so this
-- index also finds an event by its id alone.
CREATE INDEX events_identity ON events(identity);
CREATE INDEX events_ty ON events(ty);
CREATE INDEX events_source ON events(source);
CREATE INDEX events_subject ON events(subject) WHERE subject IS NOT NULL;
CREATE INDEX events_project ON events(project) WHERE project IS NOT NULL;
CREATE INDEX events_stage ON events(stage) WHERE stage IS NOT NULL;
CREATE INDEX events_service ON events(service) WHERE service IS NOT NULL;
CREATE INDEX events_run ON events(run) WHERE run IS NOT NULL;
CREATE INDEX events_triggered_id ON events(triggered_id) WHERE triggered_id IS NOT NULL;
CREATE INDEX events_caused_by ON events(caused_by) WHERE caused_by IS NOT NULL;

-- Earliest and latest instant per block of positions: finds a time range, also after the clock was set back, for one
-- row per thousands of events.
CREATE TABLE blocks(
  block INTEGER PRIMARY KEY,
  accepted_min INTEGER NOT NULL,
  accepted_max INTEGER NOT NULL
) STRICT;

-- Identities of events that retention removed before their week was over.
CREATE TABLE removed(
  identity BLOB NOT NULL,
  seq INTEGER NOT NULL,
  accepted INTEGER NOT NULL,
  source TEXT NOT NULL,
  id TEXT NOT NULL,
  crc INTEGER NOT NULL
) STRICT;
CREATE INDEX removed_identity ON removed(identity);
CREATE INDEX removed_accepted ON removed(accepted);

CREATE TABLE deliveries(
  number INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE,
  event INTEGER NOT NULL,
  consumer TEXT NOT NULL,
  cause TEXT NOT NULL,
  task TEXT,
  order_key TEXT,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  attempts_total INTEGER NOT NULL,
  due INTEGER NOT NULL,
  created INTEGER NOT NULL,
  updated INTEGER NOT NULL,
  failure TEXT,
  reason TEXT
) STRICT;
CREATE INDEX deliveries_event ON deliveries(event);
CREATE INDEX deliveries_consumer ON deliveries(consumer);
CREATE INDEX deliveries_task ON deliveries(task) WHERE task IS NOT NULL;
CREATE INDEX deliveries_state ON deliveries(state) WHERE state <> 'done';
CREATE INDEX deliveries_ready ON deliveries(consumer, number, due) WHERE state = 'ready';
CREATE INDEX deliveries_due ON deliveries(consumer, due) WHERE state = 'ready';

-- How many deliveries each consumer has in each state: counting rows would read them all.
CREATE TABLE delivery_counts(
  consumer TEXT NOT NULL,
  state TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY(consumer, state)
) STRICT, WITHOUT ROWID;

-- The key holds the delivery's number in its upper bits and counts attempts in its lower 20.
CREATE TABLE attempts(
  key INTEGER PRIMARY KEY,
  attempt INTEGER NOT NULL,
  started INTEGER NOT NULL,
  ended INTEGER,
  outcome TEXT,
  reason TEXT,
  cpu_us INTEGER NOT NULL DEFAULT 0,
  wall_us INTEGER NOT NULL DEFAULT 0,
  memory_bytes_max INTEGER NOT NULL DEFAULT 0,
  log BLOB NOT NULL DEFAULT x''
) STRICT;

CREATE TABLE states(
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  revision INTEGER NOT NULL,
  updated INTEGER NOT NULL,
  holds INTEGER,
  value BLOB NOT NULL,
  PRIMARY KEY(kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX states_holds ON states(holds) WHERE holds IS NOT NULL;

CREATE TABLE key_values(
  owner TEXT NOT NULL,
  scope TEXT NOT NULL,
  key TEXT NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY(owner, scope, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE timers(name TEXT PRIMARY KEY, due INTEGER NOT NULL, payload BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX timers_due ON timers(due, name);

-- Answers to the batches of the last minutes.
CREATE TABLE batches(number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, at INTEGER NOT NULL, outcome BLOB NOT NULL) STRICT;

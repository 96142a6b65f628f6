-- Rows as version 1 wrote them, checksum and hash included: never to be changed.
PRAGMA application_id = 0x50494c4f;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
UPDATE counters SET value = 1 WHERE name IN ('head', 'number');
INSERT INTO blocks VALUES (0, 1700000000000, 1700000000000);
INSERT INTO events(seq, identity, accepted, ty, source, id, project, stage, depth, actor, crc, event) VALUES (
  1, x'801a2dc9a38d2f149bf1571ea7f3d2e4', 1700000000000, 'build.done', '/ci', '1', 'shop', 'dev', 0, 'token:ci', 1434617424,
  CAST('{"specversion":"1.0","id":"1","source":"/ci","type":"build.done","datacontenttype":"application/json","data":{"build": "1"}}' AS BLOB));
INSERT INTO deliveries(number, id, event, consumer, cause, state, attempts, attempts_total, due, created, updated) VALUES (
  1, x'00112233445566778899aabbccddeeff', 1, 'slack', 'observed', 'ready', 0, 0, 1700000000000, 1700000000000, 1700000000000);
INSERT INTO delivery_counts VALUES ('slack', 'ready', 1);
INSERT INTO states(kind, key, revision, updated, value) VALUES ('run', 'r', 1, 1700000000000, CAST('open' AS BLOB));
INSERT INTO timers VALUES ('run/r/finish', 1700000000000, x'');

-- A database that DBOS 3.4.0 wrote: two workflows that ended, and one whose process was killed in a step.
CREATE TABLE workflow_status (
    workflow_uuid TEXT PRIMARY KEY,
    status TEXT,
    name TEXT,
    authenticated_user TEXT,
    assumed_role TEXT,
    authenticated_roles TEXT,
    request TEXT,
    output TEXT,
    error TEXT,
    executor_id TEXT,
    created_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    updated_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    application_version TEXT,
    application_id TEXT,
    class_name TEXT DEFAULT NULL,
    config_name TEXT DEFAULT NULL,
    recovery_attempts INTEGER DEFAULT 0,
    queue_name TEXT,
    workflow_timeout_ms INTEGER,
    workflow_deadline_epoch_ms INTEGER,
    inputs TEXT,
    started_at_epoch_ms INTEGER,
    deduplication_id TEXT,
    priority INTEGER NOT NULL DEFAULT 0
, queue_partition_key TEXT, forked_from TEXT, "owner_xid" TEXT DEFAULT NULL, "parent_workflow_id" TEXT DEFAULT NULL, "serialization" TEXT DEFAULT NULL, "delay_until_epoch_ms" BIGINT DEFAULT NULL, "was_forked_from" BOOLEAN NOT NULL DEFAULT FALSE, "rate_limited" BOOLEAN NOT NULL DEFAULT FALSE, "completed_at" BIGINT, "attributes" TEXT, "schedule_name" TEXT, "debounce_deadline_epoch_ms" BIGINT DEFAULT NULL, "is_debounced" BOOLEAN NOT NULL DEFAULT FALSE, "application_name" TEXT DEFAULT NULL, "creator_xid" TEXT DEFAULT NULL);
CREATE TABLE workflow_input (
    workflow_uuid TEXT NOT NULL PRIMARY KEY,
    inputs TEXT,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
);
CREATE TABLE workflow_output (
    workflow_uuid TEXT NOT NULL PRIMARY KEY,
    output TEXT,
    error TEXT,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
);
CREATE TABLE "operation_outputs" (
    workflow_uuid TEXT NOT NULL,
    function_id INTEGER NOT NULL,
    function_name TEXT NOT NULL DEFAULT '',
    output TEXT,
    error TEXT,
    child_workflow_id TEXT,
    started_at_epoch_ms INTEGER,
    completed_at_epoch_ms INTEGER,
    serialization TEXT,
    application_name TEXT DEFAULT NULL,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    PRIMARY KEY (workflow_uuid, function_id)
);
CREATE TABLE workflow_events (
    workflow_uuid TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL, "serialization" TEXT DEFAULT NULL,
    PRIMARY KEY (workflow_uuid, key),
    FOREIGN KEY (workflow_uuid) REFERENCES workflow_status(workflow_uuid) 
        ON UPDATE CASCADE ON DELETE CASCADE
);
INSERT INTO "operation_outputs" VALUES('order-1',1,'reserve','gASVDAAAAAAAAACMCGhlbGQgdGVhlC4=',NULL,NULL,1795685939460,1795685939463,'py_pickle','shop',1795685939000);
INSERT INTO "operation_outputs" VALUES('order-1',2,'charge','gASVDQAAAAAAAAB9lIwEcGFpZJRLB3Mu',NULL,NULL,1795685939479,1795685939480,'py_pickle','shop',1795685939000);
INSERT INTO "operation_outputs" VALUES('order-2',1,'reserve','gASVDQAAAAAAAACMCWhlbGQgZ29sZJQu',NULL,NULL,1795685939524,1795685939525,'py_pickle','shop',1795685939000);
INSERT INTO "operation_outputs" VALUES('order-2',2,'charge',NULL,'gASVLwAAAAAAAACMCGJ1aWx0aW5zlIwKVmFsdWVFcnJvcpSTlIwNY2FyZCBkZWNsaW5lZJSFlFKULg==',NULL,1795685939531,1795685939532,'py_pickle','shop',1795685939000);
INSERT INTO "operation_outputs" VALUES('parcel-1',1,'reserve','gASVDAAAAAAAAACMCGhlbGQgdGVhlC4=',NULL,NULL,1795685939549,1795685939552,'py_pickle','shop',1795685939000);
INSERT INTO "workflow_input" VALUES('order-1','gASVIQAAAAAAAAB9lCiMBGFyZ3OUjAN0ZWGUSweGlIwGa3dhcmdzlH2UdS4=',1795685939000);
INSERT INTO "workflow_input" VALUES('order-2','gASVIwAAAAAAAAB9lCiMBGFyZ3OUjARnb2xklE28AoaUjAZrd2FyZ3OUfZR1Lg==',1795685939000);
INSERT INTO "workflow_input" VALUES('parcel-1','gASVHwAAAAAAAAB9lCiMBGFyZ3OUjAN0ZWGUhZSMBmt3YXJnc5R9lHUu',1795685939000);
INSERT INTO "workflow_output" VALUES('order-1','gASVDQAAAAAAAAB9lIwEcGFpZJRLB3Mu',NULL,1795685939000);
INSERT INTO "workflow_output" VALUES('order-2',NULL,'gASVLwAAAAAAAACMCGJ1aWx0aW5zlIwKVmFsdWVFcnJvcpSTlIwNY2FyZCBkZWNsaW5lZJSFlFKULg==',1795685939000);
INSERT INTO "workflow_status" VALUES('order-1','SUCCESS','order',NULL,NULL,NULL,NULL,NULL,NULL,'local',1795685939000,1795685939000,'91a8c238aead70d8055ce6cbd4a2a67e','',NULL,NULL,1,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,'py_pickle',NULL,0,0,1795685939000,'null',NULL,NULL,0,'shop','3fdf87e1-0275-4a25-9e3f-fd25573b9fb3');
INSERT INTO "workflow_status" VALUES('order-2','ERROR','order',NULL,NULL,NULL,NULL,NULL,NULL,'local',1795685939000,1795685939000,'91a8c238aead70d8055ce6cbd4a2a67e','',NULL,NULL,1,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,'py_pickle',NULL,0,0,1795685939000,'null',NULL,NULL,0,'shop','47cfbbe1-1e31-413a-8af2-7e1495cc4a0b');
INSERT INTO "workflow_status" VALUES('parcel-1','PENDING','parcel',NULL,NULL,NULL,NULL,NULL,NULL,'local',1795685939000,1795685939000,'91a8c238aead70d8055ce6cbd4a2a67e','',NULL,NULL,1,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,'d762e32a-d6ad-42b7-bc60-e5bba257f8ac',NULL,'py_pickle',NULL,0,0,NULL,'null',NULL,NULL,0,'shop','d762e32a-d6ad-42b7-bc60-e5bba257f8ac');

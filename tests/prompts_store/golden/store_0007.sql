BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0007');
CREATE TABLE alias_moves (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	task_id INTEGER NOT NULL, 
	alias VARCHAR(64) NOT NULL, 
	parent_id INTEGER, 
	moved_at DATETIME NOT NULL, 
	moved_by TEXT NOT NULL, targets TEXT, shadow_of VARCHAR(64), reason TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT fk_alias_moves_task FOREIGN KEY(task_id) REFERENCES tasks (id), 
	CONSTRAINT fk_alias_moves_parent FOREIGN KEY(parent_id) REFERENCES alias_moves (id)
);
INSERT INTO "alias_moves" VALUES(1,1,'production',NULL,'2026-11-24 03:39:24.093220','ann','[[1,1]]',NULL,'');
INSERT INTO "alias_moves" VALUES(2,1,'production',1,'2026-11-24 03:39:24.102684','ann','[[2,1]]',NULL,'');
INSERT INTO "alias_moves" VALUES(3,1,'canary',NULL,'2026-12-01 10:32:53.578396','ann','[[2,90],[3,10]]',NULL,'try it');
INSERT INTO "alias_moves" VALUES(4,1,'next',NULL,'2026-12-01 10:32:53.591156','ann','[[3,1]]','production','try it');
INSERT INTO "alias_moves" VALUES(5,2,'production',NULL,'2026-12-01 10:32:53.610035','','[[1,1]]',NULL,'');
INSERT INTO "alias_moves" VALUES(6,2,'production',5,'2026-12-01 10:32:53.618384','','[[2,1]]',NULL,'');
INSERT INTO "alias_moves" VALUES(9,4,'production',NULL,'2026-12-01 10:32:53.751756','ann','[[1,1]]',NULL,'');
INSERT INTO "alias_moves" VALUES(10,5,'production',NULL,'2026-12-01 10:32:53.787023','','[[1,1]]',NULL,'');
INSERT INTO "alias_moves" VALUES(11,5,'production',10,'2026-12-01 10:32:53.816972','','[[3,1]]',NULL,'');
CREATE TABLE alias_targets (
	task_id INTEGER NOT NULL, 
	alias VARCHAR(64) NOT NULL, 
	version INTEGER NOT NULL, 
	weight INTEGER NOT NULL, 
	CONSTRAINT pk_alias_targets PRIMARY KEY (task_id, alias, version), 
	CONSTRAINT fk_alias_targets_alias FOREIGN KEY(task_id, alias) REFERENCES "aliases" (task_id, alias), 
	CONSTRAINT fk_alias_targets_version FOREIGN KEY(task_id, version) REFERENCES versions (task_id, number)
);
INSERT INTO "alias_targets" VALUES(1,'production',2,1);
INSERT INTO "alias_targets" VALUES(1,'canary',2,90);
INSERT INTO "alias_targets" VALUES(1,'canary',3,10);
INSERT INTO "alias_targets" VALUES(1,'next',3,1);
INSERT INTO "alias_targets" VALUES(2,'production',2,1);
INSERT INTO "alias_targets" VALUES(4,'production',1,1);
INSERT INTO "alias_targets" VALUES(5,'production',3,1);
CREATE TABLE "aliases" (
	task_id INTEGER NOT NULL, 
	alias VARCHAR(64) NOT NULL, 
	shadow_of VARCHAR(64), 
	move_id INTEGER NOT NULL, 
	CONSTRAINT pk_alias_places PRIMARY KEY (task_id, alias), 
	CONSTRAINT uq_aliases_shadow UNIQUE (task_id, shadow_of), 
	CONSTRAINT fk_aliases_task FOREIGN KEY(task_id) REFERENCES tasks (id), 
	CONSTRAINT fk_aliases_move FOREIGN KEY(move_id) REFERENCES alias_moves (id)
);
INSERT INTO "aliases" VALUES(1,'production',NULL,2);
INSERT INTO "aliases" VALUES(1,'canary',NULL,3);
INSERT INTO "aliases" VALUES(1,'next','production',4);
INSERT INTO "aliases" VALUES(2,'production',NULL,6);
INSERT INTO "aliases" VALUES(4,'production',NULL,9);
INSERT INTO "aliases" VALUES(5,'production',NULL,11);
CREATE TABLE batch_lines (
	batch_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	is_error BOOLEAN NOT NULL, 
	data TEXT NOT NULL, 
	CONSTRAINT pk_batch_lines PRIMARY KEY (batch_id, number), 
	CONSTRAINT fk_batch_lines_batch FOREIGN KEY(batch_id) REFERENCES batches (id)
);
INSERT INTO "batch_lines" VALUES(2,2,0,'{"answer": "b"}');
CREATE TABLE batch_tasks (
	batch_id INTEGER NOT NULL, 
	task VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_batch_tasks PRIMARY KEY (batch_id, task), 
	CONSTRAINT fk_batch_tasks_batch FOREIGN KEY(batch_id) REFERENCES batches (id)
);
INSERT INTO "batch_tasks" VALUES(1,'sentiment');
INSERT INTO "batch_tasks" VALUES(2,'sentiment');
CREATE TABLE batches (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	base_fingerprint VARCHAR(128) NOT NULL, 
	owner TEXT NOT NULL, 
	endpoint VARCHAR(64) NOT NULL, 
	input_file BIGINT NOT NULL, 
	completion_window VARCHAR(16) NOT NULL, 
	metadata TEXT NOT NULL, 
	status VARCHAR(32) NOT NULL, 
	faults TEXT NOT NULL, 
	num_lines INTEGER NOT NULL, 
	num_answered INTEGER NOT NULL, 
	num_failed INTEGER NOT NULL, 
	output_file BIGINT, 
	error_file BIGINT, 
	created_at DATETIME NOT NULL, 
	expires_at DATETIME NOT NULL, 
	in_progress_at DATETIME, 
	cancelling_at DATETIME, 
	finalizing_at DATETIME, 
	ended_at DATETIME, 
	claim INTEGER NOT NULL, 
	num_beats INTEGER NOT NULL, 
	claimed_by TEXT, 
	fruitless_claims INTEGER NOT NULL
);
INSERT INTO "batches" VALUES(1,'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','key:ci','/v1/completions',2,'24h','{"night":"1"}','completed','[]',2,1,1,3,4,'2026-12-01 10:32:53.913426','2999-01-01 00:00:00.000000','2026-12-01 10:32:53.933033',NULL,'2026-12-01 10:32:53.958287','2026-12-01 10:32:53.970100',1,2,NULL,0);
INSERT INTO "batches" VALUES(2,'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','key:ci','/v1/completions',2,'24h','{"night":"1"}','in_progress','[]',2,1,0,NULL,NULL,'2026-12-01 10:32:53.980866','2999-01-01 00:00:00.000000','2026-12-01 10:32:54.000131',NULL,NULL,NULL,1,1,'server-1',0);
CREATE TABLE changes (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	kind VARCHAR(32) NOT NULL, 
	base_fingerprint VARCHAR(128) NOT NULL, 
	task VARCHAR(64) NOT NULL, 
	version INTEGER, 
	alias VARCHAR(64), 
	changed_at DATETIME NOT NULL, 
	changed_by TEXT NOT NULL
, "key" VARCHAR(64));
INSERT INTO "changes" VALUES(1,'task_created','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','sentiment',NULL,NULL,'2026-11-24 03:39:24.083370','ann',NULL);
INSERT INTO "changes" VALUES(2,'version_published','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','sentiment',1,NULL,'2026-11-24 03:39:24.091586','ann',NULL);
INSERT INTO "changes" VALUES(3,'alias_moved','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','sentiment',1,'production','2026-11-24 03:39:24.093941','ann',NULL);
INSERT INTO "changes" VALUES(4,'version_published','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','sentiment',2,NULL,'2026-11-24 03:39:24.102434','ann',NULL);
INSERT INTO "changes" VALUES(5,'alias_moved','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','sentiment',2,'production','2026-11-24 03:39:24.103182','ann',NULL);
INSERT INTO "changes" VALUES(6,'version_published','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','sentiment',3,NULL,'2026-11-24 03:39:24.117658','bob',NULL);
INSERT INTO "changes" VALUES(7,'version_retired','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','sentiment',1,NULL,'2026-11-24 03:39:24.123284','bob',NULL);
INSERT INTO "changes" VALUES(8,'alias_moved','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','sentiment',2,'canary','2026-12-01 10:32:53.582481','ann',NULL);
INSERT INTO "changes" VALUES(9,'alias_moved','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','sentiment',3,'next','2026-12-01 10:32:53.592716','ann',NULL);
INSERT INTO "changes" VALUES(10,'task_created','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','topic',NULL,NULL,'2026-12-01 10:32:53.604994','',NULL);
INSERT INTO "changes" VALUES(11,'version_published','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','topic',1,NULL,'2026-12-01 10:32:53.609464','',NULL);
INSERT INTO "changes" VALUES(12,'alias_moved','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','topic',1,'production','2026-12-01 10:32:53.610794','',NULL);
INSERT INTO "changes" VALUES(13,'version_published','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','topic',2,NULL,'2026-12-01 10:32:53.617928','',NULL);
INSERT INTO "changes" VALUES(14,'alias_moved','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','topic',2,'production','2026-12-01 10:32:53.619789','',NULL);
INSERT INTO "changes" VALUES(15,'version_retired','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','topic',1,NULL,'2026-12-01 10:32:53.631723','',NULL);
INSERT INTO "changes" VALUES(16,'task_created','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','gone',NULL,NULL,'2026-12-01 10:32:53.637507','',NULL);
INSERT INTO "changes" VALUES(17,'version_published','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','gone',1,NULL,'2026-12-01 10:32:53.640982','',NULL);
INSERT INTO "changes" VALUES(18,'alias_moved','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','gone',1,'production','2026-12-01 10:32:53.641904','',NULL);
INSERT INTO "changes" VALUES(19,'task_deleted','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','gone',NULL,NULL,'2026-12-01 10:32:53.658604','',NULL);
INSERT INTO "changes" VALUES(20,'task_purged','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','gone',NULL,NULL,'2026-12-01 10:32:53.666784','',NULL);
INSERT INTO "changes" VALUES(21,'task_created','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','mood',NULL,NULL,'2026-12-01 10:32:53.746273','ann',NULL);
INSERT INTO "changes" VALUES(22,'version_published','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','mood',1,NULL,'2026-12-01 10:32:53.751133','ann',NULL);
INSERT INTO "changes" VALUES(23,'alias_moved','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','mood',1,'production','2026-12-01 10:32:53.752152','ann',NULL);
INSERT INTO "changes" VALUES(24,'task_created','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','votes',NULL,NULL,'2026-12-01 10:32:53.783420','',NULL);
INSERT INTO "changes" VALUES(25,'version_published','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','votes',1,NULL,'2026-12-01 10:32:53.786475','',NULL);
INSERT INTO "changes" VALUES(26,'alias_moved','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','votes',1,'production','2026-12-01 10:32:53.787418','',NULL);
INSERT INTO "changes" VALUES(27,'version_published','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','votes',2,NULL,'2026-12-01 10:32:53.807705','',NULL);
INSERT INTO "changes" VALUES(28,'version_published','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','votes',3,NULL,'2026-12-01 10:32:53.815008','',NULL);
INSERT INTO "changes" VALUES(29,'alias_moved','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','votes',3,'production','2026-12-01 10:32:53.817674','',NULL);
INSERT INTO "changes" VALUES(30,'key_created','','',NULL,NULL,'2026-12-01 10:32:53.826321','ann','ci');
INSERT INTO "changes" VALUES(31,'key_created','','',NULL,NULL,'2026-12-01 10:32:53.834250','ann','old');
INSERT INTO "changes" VALUES(32,'key_revoked','','',NULL,NULL,'2026-12-01 10:32:53.840396','bob','old');
CREATE TABLE file_chunks (
	file_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	data BLOB NOT NULL, 
	CONSTRAINT pk_file_chunks PRIMARY KEY (file_id, number), 
	CONSTRAINT fk_file_chunks_file FOREIGN KEY(file_id) REFERENCES files (id)
);
INSERT INTO "file_chunks" VALUES(1,0,X'7B2270726F6D7074223A202261222C20');
INSERT INTO "file_chunks" VALUES(1,1,X'22636F6D706C6574696F6E223A202262227D');
INSERT INTO "file_chunks" VALUES(2,0,X'7B22637573746F6D5F6964223A202261227D0A');
INSERT INTO "file_chunks" VALUES(2,1,X'7B22637573746F6D5F6964223A202262227D0A');
INSERT INTO "file_chunks" VALUES(3,0,X'7B22616E73776572223A202262227D0A');
INSERT INTO "file_chunks" VALUES(4,0,X'7B226572726F72223A202261227D0A');
CREATE TABLE files (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	filename TEXT NOT NULL, 
	purpose VARCHAR(32) NOT NULL, 
	num_bytes BIGINT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	created_at DATETIME NOT NULL, 
	created_by TEXT NOT NULL
);
INSERT INTO "files" VALUES(1,'train.jsonl','fine-tune',34,'847d481b84383733b4909a9a0dff44d7da1246e291c96ecbf4e4d13308e3613a','2026-12-01 10:32:53.702477','ann');
INSERT INTO "files" VALUES(2,'in.jsonl','batch',38,'ebef383a52c87f4b7d78a885f43eab26853aa4ca4ffb592bb8ad37dacc0be609','2026-12-01 10:32:53.902360','key:ci');
INSERT INTO "files" VALUES(3,'batch-1_output.jsonl','batch_output',16,'483361db273fe86eb5d0702caac70174852eac77effce6eb84e2ebf68fff02e9','2026-12-01 10:32:53.966152','key:ci');
INSERT INTO "files" VALUES(4,'batch-1_error.jsonl','batch_output',15,'821d95ad5dc20dbf47363c59df54f7ab9a1f28adfb87c9b79a5147a3d716f0fb','2026-12-01 10:32:53.968744','key:ci');
CREATE TABLE keys (
	name VARCHAR(64) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	scopes TEXT NOT NULL, 
	tasks TEXT, 
	expires_at DATETIME, 
	best_priority INTEGER NOT NULL, 
	max_requests_per_minute INTEGER, 
	max_tokens_per_minute INTEGER, 
	max_concurrent INTEGER, 
	salt VARCHAR(64), 
	created_at DATETIME NOT NULL, 
	created_by TEXT NOT NULL, 
	revoked_at DATETIME, 
	revoked_by TEXT, 
	PRIMARY KEY (name), 
	CONSTRAINT uq_keys_sha256 UNIQUE (sha256)
);
INSERT INTO "keys" VALUES('ci','08a70656201b80fcea8dbc73eb2cd48297a20489dcdf5cc2d3bed1dac5aa715e','infer','sentiment',NULL,0,60,NULL,NULL,'team','2026-12-01 10:32:53.825165','ann',NULL,NULL);
INSERT INTO "keys" VALUES('old','6a18a6ca8a95670b1d22042111f06649ac990be171e72ac7e596b1188ecc1830','admin',NULL,NULL,0,NULL,NULL,NULL,NULL,'2026-12-01 10:32:53.833861','ann','2026-12-01 10:32:53.840025','bob');
CREATE TABLE tasks (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	base_fingerprint VARCHAR(128) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	description TEXT NOT NULL, 
	last_version INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	created_by TEXT NOT NULL, 
	deleted_at DATETIME, 
	CONSTRAINT uq_tasks_name UNIQUE (base_fingerprint, name)
);
INSERT INTO "tasks" VALUES(1,'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','sentiment','Good or bad?',3,'2026-11-24 03:39:24.081625','ann',NULL);
INSERT INTO "tasks" VALUES(2,'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','topic','',2,'2026-12-01 10:32:53.601258','',NULL);
INSERT INTO "tasks" VALUES(3,'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','gone','',1,'2026-12-01 10:32:53.636907','','2026-12-01 10:32:53.658333');
INSERT INTO "tasks" VALUES(4,'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','mood','',1,'2026-12-01 10:32:53.745853','ann',NULL);
INSERT INTO "tasks" VALUES(5,'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','votes','',3,'2026-12-01 10:32:53.782839','',NULL);
CREATE TABLE tensors (
	sha256 VARCHAR(64) NOT NULL, 
	data BLOB NOT NULL, 
	PRIMARY KEY (sha256)
);
INSERT INTO "tensors" VALUES('f1b8302b1afacae59d7978cd54f508561726f20353ce4ccda0122983ecd2c2f1',X'6CBF003E7F4607BEBDF2233FDFD5D63DA12109BFFD22B93E79E9A63FE673723FFE2734BF55F9A1BFEA8E1FBF6E45293D4ECD14C0EC0A60BE037A9FBFE0753BBF8F540BBF18F2A1BE3DC1D23E1471853F979E03BE46E8AE3F334A2ABF21F9B33E');
INSERT INTO "tensors" VALUES('d12b0fa04896b59491ed9867e92ba519399316ae73a8df6ba7f5afd08e2f0c82',X'D249673F8589C03DF8553EBF32F66BBF0A5BEABED57A613E2B3B81BF1F3256BEE20B23BEDB740A3F9ACF5B3E69F3B53E506127BF70B904BE9EB2483FC028BF3F0F29A1BF41C8C13FA545AC3F0604483FBA66873E7EBAA0BE6CA0BA3FBFE9FA3F');
INSERT INTO "tensors" VALUES('687391be7c7d9691a3b5545d708eae5810148f8c127598d135f62f7823101b45',X'F99BE63F5255A83F91FAB63E2FAA9ABFFAF391BBBE0E283F07E9A4BF704DCA3E1817DC3EDB2F323F2D9197BF576529BF7174DFBE12BC95BF9BA3DE3F03E8FDBEB56EA83E9F6384BE3DAFCA3F9701A93F6623223F4E060DC0551C553D0F062F3FD081803F282F1EBFAB37E93FE203A9BFE75929BF705F6F3F7EED483D332700402D0B413E021922BF0150C1BEADAA8BBF068BA3BFA662213F48C7143F1AB4A53FD82D41BFAC34D83F7B2493BE3686C93F1B96DDBEA2483CBFBDC77F3EA806843FB2DF243E38E515BF16ADABBF0465B3BFD3AF003FD55D7D3FD73C28BECA8489BFB17F5F3FF3E3A3BFA18B36BF07FB1E3F500210C03CD2C53E6AE614BF09CEDF3D');
INSERT INTO "tensors" VALUES('b69d69cb7206c729a59708021e1836994583425b261b61764c65d915b22fb250',X'6CBF003E7F4607BEBDF2233FDFD5D63DA12109BFFD22B93E79E9A63FE673723FFE2734BF55F9A1BFEA8E1FBF6E45293D4ECD14C0EC0A60BE037A9FBFE0753BBF8F540BBF18F2A1BE3DC1D23E1471853F979E03BE46E8AE3F334A2ABF21F9B33ED249673F8589C03DF8553EBF32F66BBF0A5BEABED57A613E2B3B81BF1F3256BEE20B23BEDB740A3F9ACF5B3E69F3B53E506127BF70B904BE9EB2483FC028BF3F0F29A1BF41C8C13FA545AC3F0604483FBA66873E7EBAA0BE6CA0BA3FBFE9FA3FF99BE63F5255A83F91FAB63E2FAA9ABFFAF391BBBE0E283F07E9A4BF704DCA3E1817DC3EDB2F323F2D9197BF576529BF7174DFBE12BC95BF9BA3DE3F03E8FDBEB56EA83E9F6384BE3DAFCA3F9701A93F6623223F4E060DC0551C553D0F062F3F');
INSERT INTO "tensors" VALUES('93c14a8a4b352e9d444ef7304bd1387cdc464718680664d70878b21c25992f41',X'193DA13A2DF5983ECC5B8CBED4FD63BF9CCAE8BE8CDC7DBF2359763D2C8CAB3F7E02FCBE71D71EBF94CCFA3EE5B9B63E6DE3D73D27336EBF85A1EFBC64FF313F390FACBF9D4CEABE445BF3BF930FA5BFF9BDEBBFBBBB70BEB03BA2BF29E38A3E');
INSERT INTO "tensors" VALUES('af675873e6239bd12cf9c54121c8914188159e28b7cea401859cf857ccde9abf',X'B9864DBFA5AD783E2103D4BF7DF6273FAB5C923FA1BCE7BEA168DC3E3C7A803E83E8C9BE91C65CBF571502C0C288B43F051A43BDD06D21400A83533F40398E3E674D28BF6E3CB23F2A9C01BF18F4C83F03F6CBBEB56A3E3EDDE6C2BF85F71540');
INSERT INTO "tensors" VALUES('12ea3503c071c5b516f3e3d5757a6766a5f31e38c3333b17e060172c32915151',X'B70D0C3D350CAE3FA9C39C3F7CA302BF768F98BEA70207BF96D9113FD3A365BDE5333F3F2475ECBFAC84C83F397EC5BD482D2E3F0CD80BBE3519C2BEC61CED3E5213533FFE634FBEFB731CBEF2892F3FA5CE5EBF52D7C1BF103BCA3E34AA2BBF');
INSERT INTO "tensors" VALUES('5e8937e9624ae2c6a9869d6fdef5452f1395e141be27cadfdd36890b222796e3',X'2EB3DFBB06E8853FBDD83D3F3755393F0F34CF3FBB4F9ABF278020BF7E0BA9BF59ADDCBDFAAE7F3F0ECCB3BCFEE3FD3E1194F4BFFD97163E6F2D68BFF63FE33F8B08633F9108733F53F96CBD8BE41C3F7D6B283F8C55B0BE8CA7FEBEFE0DEBBD');
CREATE TABLE tuning_checkpoint_chunks (
	checkpoint_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	data BLOB NOT NULL, 
	CONSTRAINT pk_tuning_checkpoint_chunks PRIMARY KEY (checkpoint_id, number), 
	CONSTRAINT fk_tuning_checkpoint_chunks_checkpoint FOREIGN KEY(checkpoint_id) REFERENCES tuning_checkpoints (id)
);
INSERT INTO "tuning_checkpoint_chunks" VALUES(1,0,X'7374617465');
INSERT INTO "tuning_checkpoint_chunks" VALUES(2,0,X'737461746520696E206368756E6B73');
CREATE TABLE tuning_checkpoints (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	job_id INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	step INTEGER NOT NULL, 
	metrics TEXT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	CONSTRAINT fk_tuning_checkpoints_job FOREIGN KEY(job_id) REFERENCES tuning_jobs (id)
);
INSERT INTO "tuning_checkpoints" VALUES(1,2,'2026-12-01 10:32:53.769673',3,'{"loss":0.7}','4ba69735ca53765ed6a709edb56c6ea236b7193a3b29a6b390c346f0f4340e4e');
INSERT INTO "tuning_checkpoints" VALUES(2,3,'2026-12-01 10:32:53.900885',5,'{}','f5d4296c74fee73282d39b248581f7d85b195e6b1e9b40c4a801b1dab8eb659a');
CREATE TABLE tuning_events (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	job_id INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	level VARCHAR(8) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	message TEXT NOT NULL, 
	data TEXT NOT NULL, 
	CONSTRAINT fk_tuning_events_job FOREIGN KEY(job_id) REFERENCES tuning_jobs (id)
);
INSERT INTO "tuning_events" VALUES(1,1,'2026-12-01 10:32:53.722086','info','message','The job was created.','{}');
INSERT INTO "tuning_events" VALUES(2,1,'2026-12-01 10:32:53.732896','info','message','The files are valid; the job is queued.','{}');
INSERT INTO "tuning_events" VALUES(3,2,'2026-12-01 10:32:53.736097','info','message','The job was created.','{}');
INSERT INTO "tuning_events" VALUES(4,2,'2026-12-01 10:32:53.741673','info','message','The files are valid; the job is queued.','{}');
INSERT INTO "tuning_events" VALUES(5,1,'2026-12-01 10:32:53.756623','info','message','The job made version 1 of task mood, which is in production.','{"created":true,"digest":"dc78bbffab3f73077e31652f62f53ec790ad00e8497867bf891c00f43ed49f39","promoted":true,"task":"mood","version":1}');
INSERT INTO "tuning_events" VALUES(6,2,'2026-12-01 10:32:53.778096','info','message','The job was paused.','{}');
INSERT INTO "tuning_events" VALUES(7,3,'2026-12-01 10:32:53.858411','info','message','The job was created.','{}');
INSERT INTO "tuning_events" VALUES(8,3,'2026-12-01 10:32:53.874442','info','message','The files are valid; the job is queued.','{}');
CREATE TABLE tuning_jobs (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	base_fingerprint VARCHAR(128) NOT NULL, 
	task VARCHAR(64) NOT NULL, 
	status VARCHAR(32) NOT NULL, 
	training_file BIGINT NOT NULL, 
	validation_file BIGINT, 
	seed BIGINT NOT NULL, 
	request TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	created_by TEXT NOT NULL, 
	started_at DATETIME, 
	finished_at DATETIME, 
	estimated_finish DATETIME, 
	trained_tokens BIGINT, 
	metrics TEXT NOT NULL, 
	version INTEGER, 
	error TEXT, 
	claim INTEGER NOT NULL, 
	num_beats INTEGER NOT NULL, 
	claimed_by TEXT
, fruitless_claims INTEGER DEFAULT '0' NOT NULL);
INSERT INTO "tuning_jobs" VALUES(1,'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','mood','succeeded',1,NULL,1,'{"template":"{input}"}','2026-12-01 10:32:53.721244','ann','2026-12-01 10:32:53.743860','2026-12-01 10:32:53.754340',NULL,9,'{"loss":0.5}',1,NULL,2,0,NULL,1);
INSERT INTO "tuning_jobs" VALUES(2,'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','mood','paused',1,NULL,1,'{"template":"{input}"}','2026-12-01 10:32:53.735780','ann','2026-12-01 10:32:53.761907',NULL,NULL,NULL,'{}',NULL,NULL,2,1,NULL,0);
INSERT INTO "tuning_jobs" VALUES(3,'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','mood','running',1,NULL,2,'{}','2026-12-01 10:32:53.858044','ann','2026-12-01 10:32:53.884108',NULL,NULL,NULL,'{}',NULL,NULL,2,1,'server-1',0);
CREATE TABLE version_plots (
	version_id INTEGER NOT NULL, 
	png BLOB NOT NULL, 
	PRIMARY KEY (version_id), 
	CONSTRAINT fk_version_plots_version FOREIGN KEY(version_id) REFERENCES versions (id)
);
INSERT INTO "version_plots" VALUES(7,X'504E47');
CREATE TABLE version_tensors (
	version_id INTEGER NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	original_dtype VARCHAR(8) NOT NULL, 
	shape TEXT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_version_tensors PRIMARY KEY (version_id, name), 
	CONSTRAINT fk_version_tensors_version FOREIGN KEY(version_id) REFERENCES versions (id), 
	CONSTRAINT fk_version_tensors_tensor FOREIGN KEY(sha256) REFERENCES tensors (sha256)
);
INSERT INTO "version_tensors" VALUES(1,'prompt_embeddings','F32','[3,8]','f1b8302b1afacae59d7978cd54f508561726f20353ce4ccda0122983ecd2c2f1');
INSERT INTO "version_tensors" VALUES(2,'prefix_task_cols','F32','[4,3,2]','d12b0fa04896b59491ed9867e92ba519399316ae73a8df6ba7f5afd08e2f0c82');
INSERT INTO "version_tensors" VALUES(2,'prefix_task_rows','F32','[4,2,8]','687391be7c7d9691a3b5545d708eae5810148f8c127598d135f62f7823101b45');
INSERT INTO "version_tensors" VALUES(2,'prompt_embeddings','F32','[3,8]','f1b8302b1afacae59d7978cd54f508561726f20353ce4ccda0122983ecd2c2f1');
INSERT INTO "version_tensors" VALUES(3,'prompt_embeddings','F32','[3,24]','b69d69cb7206c729a59708021e1836994583425b261b61764c65d915b22fb250');
INSERT INTO "version_tensors" VALUES(5,'prompt_embeddings','F32','[3,8]','93c14a8a4b352e9d444ef7304bd1387cdc464718680664d70878b21c25992f41');
INSERT INTO "version_tensors" VALUES(7,'prompt_embeddings','F32','[3,8]','af675873e6239bd12cf9c54121c8914188159e28b7cea401859cf857ccde9abf');
INSERT INTO "version_tensors" VALUES(8,'prompt_embeddings','F32','[3,8]','12ea3503c071c5b516f3e3d5757a6766a5f31e38c3333b17e060172c32915151');
INSERT INTO "version_tensors" VALUES(9,'prompt_embeddings','F32','[3,8]','5e8937e9624ae2c6a9869d6fdef5452f1395e141be27cadfdd36890b222796e3');
CREATE TABLE versions (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	task_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	prefix_digest VARCHAR(64) NOT NULL, 
	prefix_shape TEXT NOT NULL, 
	peft_type VARCHAR(32) NOT NULL, 
	num_virtual_tokens INTEGER NOT NULL, 
	base_name TEXT NOT NULL, 
	base_mismatch BOOLEAN NOT NULL, 
	config TEXT NOT NULL, 
	manifest TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	created_by TEXT NOT NULL, 
	retired_at DATETIME, 
	retired_by TEXT, freed_at DATETIME, members TEXT, 
	CONSTRAINT uq_versions_number UNIQUE (task_id, number), 
	CONSTRAINT fk_versions_task FOREIGN KEY(task_id) REFERENCES tasks (id)
);
INSERT INTO "versions" VALUES(1,1,1,'3e15fd8f519bc75202e8b15899266004ceda81363cc77a516042d7ec453e6eb1','bb3cf78706fadc391de35d5f9065c65a7455f9b86cd9dcb7f018f56794822ca9','[3,8]','PROMPT_TUNING',3,'tiny/base',0,'{"auto_mapping":null,"base_model_name_or_path":"tiny/base","inference_mode":true,"modules_to_save":null,"num_attention_heads":4,"num_layers":2,"num_transformer_submodules":1,"num_virtual_tokens":3,"peft_type":"PROMPT_TUNING","task_type":"CAUSAL_LM","token_dim":8}','{"add_special_tokens":false,"defaults":{"max_tokens":4,"temperature":0.1},"labels":["good","bad"],"metrics":{"accuracy":0.5},"note":"golden","stop":["\n"],"task_index":null,"template":"Review: {input}\nLabel:"}','2026-11-24 03:39:24.089918','ann','2026-11-24 03:39:24.120342','bob',NULL,NULL);
INSERT INTO "versions" VALUES(2,1,2,'c1d3410f5c91e53bef9608a3bc47243e38bf9f9cdf340e2c398d1fae2ed85faf','e06cf0097b9282f80cd0f5461aa55f1e1cdb09af19891d5bb36405189c75fda8','[3,8]','MULTITASK_PROMPT_TUNING',3,'tiny/base',0,'{"auto_mapping":null,"base_model_name_or_path":"tiny/base","inference_mode":true,"modules_to_save":null,"num_attention_heads":4,"num_layers":2,"num_ranks":2,"num_tasks":4,"num_transformer_submodules":1,"num_virtual_tokens":3,"peft_type":"MULTITASK_PROMPT_TUNING","task_type":"CAUSAL_LM","token_dim":8}','{"add_special_tokens":null,"defaults":{},"labels":[],"metrics":{},"note":"","stop":[],"task_index":1,"template":null}','2026-11-24 03:39:24.101526','ann',NULL,NULL,NULL,NULL);
INSERT INTO "versions" VALUES(3,1,3,'5427cb4799621882ea9a7741aa2e6bf49b4f974aab704b2b0f1452452dfcaca0','f0bf7c4b6978fc15597fff7d90c2b32bd9f797d738fafa65382213c06becc984','[3,4,2,3]','CARTRIDGE',3,'tiny/base',0,'{"auto_mapping":null,"base_model_name_or_path":"tiny/base","inference_mode":true,"modules_to_save":null,"num_attention_heads":2,"num_layers":2,"num_transformer_submodules":1,"num_virtual_tokens":3,"peft_type":"CARTRIDGE","task_type":"CAUSAL_LM","token_dim":6}','{"add_special_tokens":null,"defaults":{},"labels":[],"metrics":{},"note":"","stop":[],"task_index":null,"template":null}','2026-11-24 03:39:24.117066','bob',NULL,NULL,NULL,NULL);
INSERT INTO "versions" VALUES(4,2,1,'f048313649965459ba3bf7ce122b4d48d8ff9461da9927752fe436fa5f80790c','ad26d7e2116f232486f0ebb6160249d24c1499be0fc602decfbafe03b8569e07','[3,8]','PROMPT_TUNING',3,'tiny/base',0,'{"auto_mapping":null,"base_model_name_or_path":"tiny/base","inference_mode":true,"modules_to_save":null,"num_attention_heads":4,"num_layers":2,"num_transformer_submodules":1,"num_virtual_tokens":3,"peft_type":"PROMPT_TUNING","task_type":"CAUSAL_LM","token_dim":8}','{"add_special_tokens":null,"defaults":{},"labels":[],"metrics":{},"note":"","parent_version":null,"stop":[],"task_index":null,"template":null,"training_data_digest":null}','2026-12-01 10:32:53.606415','','2026-12-01 10:32:53.631247','','2026-12-01 10:32:53.686473',NULL);
INSERT INTO "versions" VALUES(5,2,2,'f92a7e9d9b464e9443bf321d4acebdc45767da6b72aeb5f4d94915e053807d2b','8a1961882796021b713b22b918f235e762035d869bc3bd65f3f7ebc010f1ce62','[3,8]','PROMPT_TUNING',3,'tiny/base',0,'{"auto_mapping":null,"base_model_name_or_path":"tiny/base","inference_mode":true,"modules_to_save":null,"num_attention_heads":4,"num_layers":2,"num_transformer_submodules":1,"num_virtual_tokens":3,"peft_type":"PROMPT_TUNING","task_type":"CAUSAL_LM","token_dim":8}','{"add_special_tokens":null,"defaults":{},"labels":[],"metrics":{},"note":"","parent_version":1,"stop":[],"task_index":null,"template":null,"training_data_digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"}','2026-12-01 10:32:53.617204','',NULL,NULL,NULL,NULL);
INSERT INTO "versions" VALUES(7,4,1,'dc78bbffab3f73077e31652f62f53ec790ad00e8497867bf891c00f43ed49f39','d6bc4c5760c263d2c4624c0741cd416207398c4624f93771e469cbc632aab7e7','[3,8]','PROMPT_TUNING',3,'tiny/base',0,'{"auto_mapping":null,"base_model_name_or_path":"tiny/base","inference_mode":true,"modules_to_save":null,"num_attention_heads":4,"num_layers":2,"num_transformer_submodules":1,"num_virtual_tokens":3,"peft_type":"PROMPT_TUNING","task_type":"CAUSAL_LM","token_dim":8}','{"add_special_tokens":null,"defaults":{},"labels":[],"metrics":{},"note":"tuned","parent_version":null,"stop":[],"task_index":null,"template":null,"training_data_digest":null}','2026-12-01 10:32:53.747050','ann',NULL,NULL,NULL,NULL);
INSERT INTO "versions" VALUES(8,5,1,'b0eaf772f883a9fb2f58ce91e6b8aea8282f44d4a21ac0748a04c17fd14064bd','cffa7a60e068a8b8dccdabf6c60caaa381f270eba8c40f06ed2f4bdb6c0c9899','[3,8]','PROMPT_TUNING',3,'tiny/base',0,'{"auto_mapping":null,"base_model_name_or_path":"tiny/base","inference_mode":true,"modules_to_save":null,"num_attention_heads":4,"num_layers":2,"num_transformer_submodules":1,"num_virtual_tokens":3,"peft_type":"PROMPT_TUNING","task_type":"CAUSAL_LM","token_dim":8}','{"add_special_tokens":null,"defaults":{},"labels":["good","bad"],"metrics":{},"note":"","parent_version":null,"stop":[],"task_index":null,"template":null,"training_data_digest":null}','2026-12-01 10:32:53.785811','',NULL,NULL,NULL,NULL);
INSERT INTO "versions" VALUES(9,5,2,'ab15b816da4fd13c619693a25b8070154efb11539558e37d6694bc6ad73396eb','1855fd7b6568b91c154566ff0aa12affc88c810de9d5665566e1d6deb8ccf9ce','[3,8]','PROMPT_TUNING',3,'tiny/base',0,'{"auto_mapping":null,"base_model_name_or_path":"tiny/base","inference_mode":true,"modules_to_save":null,"num_attention_heads":4,"num_layers":2,"num_transformer_submodules":1,"num_virtual_tokens":3,"peft_type":"PROMPT_TUNING","task_type":"CAUSAL_LM","token_dim":8}','{"add_special_tokens":null,"defaults":{},"labels":["good","bad"],"metrics":{},"note":"","parent_version":null,"stop":[],"task_index":null,"template":null,"training_data_digest":null}','2026-12-01 10:32:53.806731','',NULL,NULL,NULL,NULL);
INSERT INTO "versions" VALUES(10,5,3,'7f1566ad2bbbc25518fca9822e7f0c0d2c41b6a7b007f130c728b7e313ac9f16','','[]','',3,'',0,'{}','{"add_special_tokens":null,"defaults":{},"labels":["good","bad"],"metrics":{},"note":"both","parent_version":null,"stop":[],"task_index":null,"template":null,"training_data_digest":null}','2026-12-01 10:32:53.814017','',NULL,NULL,NULL,'[[2,"ab15b816da4fd13c619693a25b8070154efb11539558e37d6694bc6ad73396eb","1855fd7b6568b91c154566ff0aa12affc88c810de9d5665566e1d6deb8ccf9ce"],[1,"b0eaf772f883a9fb2f58ce91e6b8aea8282f44d4a21ac0748a04c17fd14064bd","cffa7a60e068a8b8dccdabf6c60caaa381f270eba8c40f06ed2f4bdb6c0c9899"]]');
CREATE UNIQUE INDEX uq_versions_live_digest ON versions (task_id, digest) WHERE retired_at IS NULL;
CREATE INDEX ix_version_tensors_sha256 ON version_tensors (sha256);
CREATE INDEX ix_alias_moves_alias ON alias_moves (task_id, alias, id);
CREATE INDEX ix_tuning_jobs_status ON tuning_jobs (base_fingerprint, status);
CREATE INDEX ix_tuning_events_job ON tuning_events (job_id, id);
CREATE INDEX ix_tuning_checkpoints_job ON tuning_checkpoints (job_id, id);
CREATE INDEX ix_batches_status ON batches (base_fingerprint, status);
CREATE INDEX ix_batches_owner ON batches (base_fingerprint, owner, id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('tasks',5);
INSERT INTO "sqlite_sequence" VALUES('changes',32);
INSERT INTO "sqlite_sequence" VALUES('versions',10);
INSERT INTO "sqlite_sequence" VALUES('alias_moves',11);
INSERT INTO "sqlite_sequence" VALUES('files',4);
INSERT INTO "sqlite_sequence" VALUES('tuning_jobs',3);
INSERT INTO "sqlite_sequence" VALUES('tuning_events',8);
INSERT INTO "sqlite_sequence" VALUES('tuning_checkpoints',2);
INSERT INTO "sqlite_sequence" VALUES('batches',2);
COMMIT;

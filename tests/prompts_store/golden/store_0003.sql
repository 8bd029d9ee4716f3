BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0003');
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
INSERT INTO "alias_moves" VALUES(3,1,'canary',NULL,'2026-11-25 13:02:22.475308','ann','[[2,90],[3,10]]',NULL,'try it');
INSERT INTO "alias_moves" VALUES(4,1,'next',NULL,'2026-11-25 13:02:22.486191','ann','[[3,1]]','production','try it');
INSERT INTO "alias_moves" VALUES(5,2,'production',NULL,'2026-11-25 13:02:22.543658','','[[1,1]]',NULL,'');
INSERT INTO "alias_moves" VALUES(6,2,'production',5,'2026-11-25 13:02:22.567690','','[[2,1]]',NULL,'');
INSERT INTO "alias_moves" VALUES(9,4,'production',NULL,'2026-11-25 13:02:22.705948','','[[1,1]]',NULL,'');
INSERT INTO "alias_moves" VALUES(10,4,'production',9,'2026-11-25 13:02:22.742370','','[[3,1]]',NULL,'');
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
INSERT INTO "alias_targets" VALUES(4,'production',3,1);
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
INSERT INTO "aliases" VALUES(4,'production',NULL,10);
CREATE TABLE changes (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	kind VARCHAR(32) NOT NULL, 
	base_fingerprint VARCHAR(128) NOT NULL, 
	task VARCHAR(64) NOT NULL, 
	version INTEGER, 
	alias VARCHAR(64), 
	changed_at DATETIME NOT NULL, 
	changed_by TEXT NOT NULL
);
INSERT INTO "changes" VALUES(1,'task_created','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','sentiment',NULL,NULL,'2026-11-24 03:39:24.083370','ann');
INSERT INTO "changes" VALUES(2,'version_published','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','sentiment',1,NULL,'2026-11-24 03:39:24.091586','ann');
INSERT INTO "changes" VALUES(3,'alias_moved','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','sentiment',1,'production','2026-11-24 03:39:24.093941','ann');
INSERT INTO "changes" VALUES(4,'version_published','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','sentiment',2,NULL,'2026-11-24 03:39:24.102434','ann');
INSERT INTO "changes" VALUES(5,'alias_moved','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','sentiment',2,'production','2026-11-24 03:39:24.103182','ann');
INSERT INTO "changes" VALUES(6,'version_published','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','sentiment',3,NULL,'2026-11-24 03:39:24.117658','bob');
INSERT INTO "changes" VALUES(7,'version_retired','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','sentiment',1,NULL,'2026-11-24 03:39:24.123284','bob');
INSERT INTO "changes" VALUES(8,'alias_moved','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','sentiment',2,'canary','2026-11-25 13:02:22.477541','ann');
INSERT INTO "changes" VALUES(9,'alias_moved','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','sentiment',3,'next','2026-11-25 13:02:22.493210','ann');
INSERT INTO "changes" VALUES(10,'task_created','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','topic',NULL,NULL,'2026-11-25 13:02:22.527252','');
INSERT INTO "changes" VALUES(11,'version_published','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','topic',1,NULL,'2026-11-25 13:02:22.538215','');
INSERT INTO "changes" VALUES(12,'alias_moved','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','topic',1,'production','2026-11-25 13:02:22.544379','');
INSERT INTO "changes" VALUES(13,'version_published','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','topic',2,NULL,'2026-11-25 13:02:22.561488','');
INSERT INTO "changes" VALUES(14,'alias_moved','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','topic',2,'production','2026-11-25 13:02:22.569711','');
INSERT INTO "changes" VALUES(15,'version_retired','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','topic',1,NULL,'2026-11-25 13:02:22.581383','');
INSERT INTO "changes" VALUES(16,'task_created','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','gone',NULL,NULL,'2026-11-25 13:02:22.616861','');
INSERT INTO "changes" VALUES(17,'version_published','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','gone',1,NULL,'2026-11-25 13:02:22.625998','');
INSERT INTO "changes" VALUES(18,'alias_moved','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','gone',1,'production','2026-11-25 13:02:22.627600','');
INSERT INTO "changes" VALUES(19,'task_deleted','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','gone',NULL,NULL,'2026-11-25 13:02:22.651104','');
INSERT INTO "changes" VALUES(20,'task_purged','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','gone',NULL,NULL,'2026-11-25 13:02:22.668386','');
INSERT INTO "changes" VALUES(21,'task_created','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','votes',NULL,NULL,'2026-11-25 13:02:22.693254','');
INSERT INTO "changes" VALUES(22,'version_published','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','votes',1,NULL,'2026-11-25 13:02:22.704797','');
INSERT INTO "changes" VALUES(23,'alias_moved','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','votes',1,'production','2026-11-25 13:02:22.710939','');
INSERT INTO "changes" VALUES(24,'version_published','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','votes',2,NULL,'2026-11-25 13:02:22.728414','');
INSERT INTO "changes" VALUES(25,'version_published','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','votes',3,NULL,'2026-11-25 13:02:22.741675','');
INSERT INTO "changes" VALUES(26,'alias_moved','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','votes',3,'production','2026-11-25 13:02:22.751753','');
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
INSERT INTO "tasks" VALUES(2,'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','topic','',2,'2026-11-25 13:02:22.520519','',NULL);
INSERT INTO "tasks" VALUES(3,'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','gone','',1,'2026-11-25 13:02:22.615855','','2026-11-25 13:02:22.646233');
INSERT INTO "tasks" VALUES(4,'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','votes','',3,'2026-11-25 13:02:22.692123','',NULL);
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
INSERT INTO "tensors" VALUES('2d04321d8f32411d3f9abd6219c04c08d1557f1a30330f23ef4a8314c159fcd4',X'323A8DBF379B39BF642448BF0FB1883EF28B7EBEC684013EA3D1573FBBA15B3F454BF33E24CBE6BE3E4341BFA89750BFBE0DB0BEEF7352BDEDE678BFE33691BF65859C3E0404EDBF844D35BED205DA3E44407CBF48758EBF63B842BFF1E4253F');
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
INSERT INTO "version_tensors" VALUES(8,'prompt_embeddings','F32','[3,8]','2d04321d8f32411d3f9abd6219c04c08d1557f1a30330f23ef4a8314c159fcd4');
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
INSERT INTO "versions" VALUES(4,2,1,'f048313649965459ba3bf7ce122b4d48d8ff9461da9927752fe436fa5f80790c','ad26d7e2116f232486f0ebb6160249d24c1499be0fc602decfbafe03b8569e07','[3,8]','PROMPT_TUNING',3,'tiny/base',0,'{"auto_mapping":null,"base_model_name_or_path":"tiny/base","inference_mode":true,"modules_to_save":null,"num_attention_heads":4,"num_layers":2,"num_transformer_submodules":1,"num_virtual_tokens":3,"peft_type":"PROMPT_TUNING","task_type":"CAUSAL_LM","token_dim":8}','{"add_special_tokens":null,"defaults":{},"labels":[],"metrics":{},"note":"","parent_version":null,"stop":[],"task_index":null,"template":null,"training_data_digest":null}','2026-11-25 13:02:22.529764','','2026-11-25 13:02:22.580792','','2026-11-25 13:02:22.761940',NULL);
INSERT INTO "versions" VALUES(5,2,2,'f92a7e9d9b464e9443bf321d4acebdc45767da6b72aeb5f4d94915e053807d2b','8a1961882796021b713b22b918f235e762035d869bc3bd65f3f7ebc010f1ce62','[3,8]','PROMPT_TUNING',3,'tiny/base',0,'{"auto_mapping":null,"base_model_name_or_path":"tiny/base","inference_mode":true,"modules_to_save":null,"num_attention_heads":4,"num_layers":2,"num_transformer_submodules":1,"num_virtual_tokens":3,"peft_type":"PROMPT_TUNING","task_type":"CAUSAL_LM","token_dim":8}','{"add_special_tokens":null,"defaults":{},"labels":[],"metrics":{},"note":"","parent_version":1,"stop":[],"task_index":null,"template":null,"training_data_digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"}','2026-11-25 13:02:22.560288','',NULL,NULL,NULL,NULL);
INSERT INTO "versions" VALUES(7,4,1,'fd76bd603baf4accb257dfff9c7400ff71168511e61451e19d6ae4f9c29b23e3','d6bc4c5760c263d2c4624c0741cd416207398c4624f93771e469cbc632aab7e7','[3,8]','PROMPT_TUNING',3,'tiny/base',0,'{"auto_mapping":null,"base_model_name_or_path":"tiny/base","inference_mode":true,"modules_to_save":null,"num_attention_heads":4,"num_layers":2,"num_transformer_submodules":1,"num_virtual_tokens":3,"peft_type":"PROMPT_TUNING","task_type":"CAUSAL_LM","token_dim":8}','{"add_special_tokens":null,"defaults":{},"labels":["good","bad"],"metrics":{},"note":"","parent_version":null,"stop":[],"task_index":null,"template":null,"training_data_digest":null}','2026-11-25 13:02:22.703277','',NULL,NULL,NULL,NULL);
INSERT INTO "versions" VALUES(8,4,2,'633a5800c90cef4444e0785a76091e232e3d98de2ca5f7c2b2976ea0870b068a','6b95d1f9db1e5a98b4eef4f0b9b76ee1d16e95877c074ae9905bbeb38732403f','[3,8]','PROMPT_TUNING',3,'tiny/base',0,'{"auto_mapping":null,"base_model_name_or_path":"tiny/base","inference_mode":true,"modules_to_save":null,"num_attention_heads":4,"num_layers":2,"num_transformer_submodules":1,"num_virtual_tokens":3,"peft_type":"PROMPT_TUNING","task_type":"CAUSAL_LM","token_dim":8}','{"add_special_tokens":null,"defaults":{},"labels":["good","bad"],"metrics":{},"note":"","parent_version":null,"stop":[],"task_index":null,"template":null,"training_data_digest":null}','2026-11-25 13:02:22.725504','',NULL,NULL,NULL,NULL);
INSERT INTO "versions" VALUES(9,4,3,'5d5433a32457a8283984ae9fdb470aba563e41f98416dd44038e8fa633ca37bb','','[]','',3,'',0,'{}','{"add_special_tokens":null,"defaults":{},"labels":["good","bad"],"metrics":{},"note":"both","parent_version":null,"stop":[],"task_index":null,"template":null,"training_data_digest":null}','2026-11-25 13:02:22.740469','',NULL,NULL,NULL,'[[2,"633a5800c90cef4444e0785a76091e232e3d98de2ca5f7c2b2976ea0870b068a","6b95d1f9db1e5a98b4eef4f0b9b76ee1d16e95877c074ae9905bbeb38732403f"],[1,"fd76bd603baf4accb257dfff9c7400ff71168511e61451e19d6ae4f9c29b23e3","d6bc4c5760c263d2c4624c0741cd416207398c4624f93771e469cbc632aab7e7"]]');
CREATE UNIQUE INDEX uq_versions_live_digest ON versions (task_id, digest) WHERE retired_at IS NULL;
CREATE INDEX ix_version_tensors_sha256 ON version_tensors (sha256);
CREATE INDEX ix_alias_moves_alias ON alias_moves (task_id, alias, id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('tasks',4);
INSERT INTO "sqlite_sequence" VALUES('changes',26);
INSERT INTO "sqlite_sequence" VALUES('versions',9);
INSERT INTO "sqlite_sequence" VALUES('alias_moves',10);
COMMIT;

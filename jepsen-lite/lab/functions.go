package lab

// data adds the arguments that all operations on data take.
func data(own ...argument) []argument {
	return append(own,
		argument{"at", kindNode, false, "enter at this node, and be routed from where it stands"},
		argument{"session", kindText, false, "of which the operation is a part; without it, of none"},
		argument{"timeout", kindTime, false, "how long it is tried; 2s if absent"},
	)
}

// reading adds the level.
func reading(own ...argument) []argument {
	return append(data(own...), argument{"level", kindLevel, false, "strong, causal, bounded:2s, …; the keyspace's default if absent"})
}

// writing adds what writes on ap keyspaces take.
func writing(own ...argument) []argument {
	return append(data(own...),
		argument{"w", kindW, false, "ap: how many replicas must hold it: local, majority or all"},
		argument{"blind", kindYes, false, "ap, siblings: stand beside what is there"},
		argument{"after-read", kindYes, false, "ap: supersede what the session's last read of the key showed"},
	)
}

const answers = "Answers outcome, code, value, values, revision, replaced, acked, level_served, node, role, term, waited_ms, staleness_ms, took_ms, as far as they apply."

// functions are all that the kv provider can do.
func functions() []function {
	key := argument{"key", kindKey, true, "KEYSPACE/KEY"}
	keyspace := argument{"keyspace", kindKeyspace, true, "a name"}
	node := argument{"node", kindNodes, true, "n1, several with commas, or leader:KEYSPACE"}
	patience := argument{"within", kindTime, false, "how long to wait for it; 10s if absent"}
	value := argument{"value", kindText, true, "to write; checkers want each value written once"}
	field := argument{"field", kindText, false, "of a map; the member is the value on a set"}
	return []function{
		{"put", "Write a value. " + answers, writing(key, value, field, argument{"ttl", kindTime, false, "how long it lives"}, argument{"create", kindYes, false, "cp: only if the key is absent"}, argument{"fence", kindText, false, "cp: the name of a lock that must be held by the session"}), put},
		{"get", "Read a key. " + answers, reading(key, argument{"until-found", kindTime, false, "read again and again, this long at most, while there is nothing"}), get},
		{"delete", "Remove a key, a field or a member. " + answers, writing(key, field), remove},
		{"add", "Add a member to a set. " + answers, writing(key, value), add},
		{"cas", "Write if the key holds the expected value; cp. " + answers, data(key, value, argument{"expect", kindText, true, "the value that must be there"}), swap},
		{"incr", "Add to a counter. " + answers, writing(key, argument{"by", kindNumber, false, "1 if absent"}), increment},
		{"scan", "Read a range. Answers keys and values of what begins with the prefix.", reading(keyspace, argument{"prefix", kindText, false, "of the keys"}), scan},
		{"lock", "Take a lock, in the session's name; cp. Answers its fence.", data(keyspace, argument{"name", kindText, true, "of the lock"}, argument{"ttl", kindTime, false, "how long it is held without a sign of life; 2s if absent"}), lock},
		{"unlock", "Give a lock of the session back; cp.", []argument{{"name", kindText, true, "of the lock"}, {"session", kindText, false, "whose it is"}}, unlock},

		{"ready", "Wait until every node is ready and serves every keyspace. Answers true or false.", []argument{patience}, ready},
		{"converged", "Wait until all replicas of a keyspace are equal. Answers true or false.", []argument{keyspace, patience}, converged},
		{"leader", "Wait until a keyspace has a leader. Answers its name.", []argument{keyspace, patience, {"among", kindNodes, false, "only these are asked"}, {"not", kindNode, false, "wait for another than this one"}}, leader},
		{"replicas", "Look at the own copy of a key of every node, asking nobody else. Answers the values of each node.", []argument{key}, replicas},
		{"status", "Ask a node how it is. Answers ready, reasons, and the nodes it hears of.", []argument{{"node", kindNode, true, "n1, or leader:KEYSPACE"}}, status},
		{"elapsed", "Answers how many milliseconds ago an activity ended.", []argument{{"since", kindText, true, "its name"}}, elapsed},
		{"await", "Wait for an activity in the background. Answers what it answered.", []argument{{"activity", kindText, true, "its name"}, patience}, await},
		{"load", "Put a workload of kvctl check run on the experiment's keyspaces. Answers ok, failed, unknown and dropped.", []argument{{"workload", kindWorkload, true, "one of kvctl check run"}, {"keyspace", kindKeyspace, true, "the one it is for"}, {"for", kindTime, true, "how long"}, {"clients", kindNumber, false, "10 if absent"}, {"rate", kindNumber, false, "operations a second, all clients together; 100 if absent"}}, load},
		{"check", "Have the history so far judged. Answers verdict, and the verdict of each checker.", []argument{{"claims", kindClaims, false, "names of checkers; all that apply if absent"}, {"dump", kindYes, false, "compare the replicas, too; wait until they are equal"}}, judge},

		{"partition", "Put nodes on sides that do not hear each other. Other cuts are replaced.", []argument{{"groups", kindSides, true, "n1,n2|n3,n4,n5: every node once"}}, partition},
		{"isolate", "Cut nodes off from all others, each from each.", []argument{node}, isolate},
		{"cut", "Cut links, one way or both.", []argument{{"links", kindLinks, true, "n1->n2 one way, n1<->n2 both, lists or *"}}, cut},
		{"delay", "Make links late.", []argument{{"links", kindLinks, true, "n1->n2, n1<->n2, lists or *"}, {"by", kindTime, true, "one way"}, {"jitter", kindTime, false, "give or take"}}, delay},
		{"drop", "Lose packets, and hold bytes back.", []argument{{"links", kindLinks, true, "n1->n2, n1<->n2, lists or *"}, {"percent", kindPercent, true, "of them"}}, drop},
		{"heal", "Make every link whole and in time.", nil, heal},
		{"kill", "End nodes as kill -9 does.", []argument{node}, kill},
		{"restart", "Start nodes again, on what their disks hold, and wait until they are ready. One that runs is ended in an orderly way first.", []argument{node}, restart},
		{"pause", "Stop nodes as SIGSTOP does; real processes only.", []argument{node}, pause},
		{"resume", "Let paused nodes go on.", []argument{node}, resume},
		{"slow-disk", "Make every sync of nodes' logs take longer; 0 heals.", []argument{node, {"by", kindTime, true, "each sync"}}, slowDisk},
		{"skew", "Set nodes' wall clocks wrong; 0 heals.", []argument{node, {"ahead", kindSkew, true, "such as 30s or -30s"}}, skew},
		{"transfer-leader", "Hand the leadership of a keyspace's groups to a node, and wait until it leads.", []argument{keyspace, {"to", kindNode, true, "n1"}}, transfer},
	}
}

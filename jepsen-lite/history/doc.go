// Package history is the record of a run: what clients asked and were answered,
// which faults were in force, and what each replica held at the end.
//
// A history is a file of JSON lines. An operation is two lines matched by op_id:
// "invoke", written before its first byte can leave, and "complete", written after
// the last byte of its answer was read. An operation without its second line may
// have happened or not: its outcome is unknown. "fault" lines begin and end a
// fault; "dump" lines show what one replica holds of one key, and a "dump-end"
// line closes the dump of that node and keyspace, so that an empty replica shows.
//
//	{"seq":17,"t_ns":4210000000,"type":"invoke","op_id":8,"process":3,"session":"s1","op":"get","keyspace":"orders","mode":"cp","key":"k3","level":"strong"}
//	{"seq":21,"t_ns":4214000000,"type":"complete","op_id":8,"outcome":"ok","found":true,"value":"v12","revision":12}
//	{"seq":30,"t_ns":5000000000,"type":"fault","fault":"partition","phase":"begin","detail":"n1,n2|n3,n4,n5"}
//	{"seq":90,"t_ns":9000000000,"type":"dump","node":"n1","keyspace":"orders","key":"k3","value":"v12","revision":12}
//	{"seq":91,"t_ns":9000000000,"type":"dump-end","node":"n1","keyspace":"orders","revision":31}
//
// Only seq orders events; t_ns is for drawing. A session orders its operations as
// far as they do not overlap; an operation without a session is ordered with none.
// Fields that are not known are kept and ignored.
package history

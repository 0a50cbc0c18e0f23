package lab

import "time"

// Experiment is a file that was found good.
type Experiment struct {
	Name          string // of the file, for messages
	Title         string
	Description   string
	Tags          []string
	Needs         *Needs // nil: no cluster
	Hypothesis    *Hypothesis
	Method        []Step
	Rollbacks     []*Activity
	configuration map[string]setting
	secrets       map[string]map[string]setting
	strategy      strategies
	document      any // the whole file, for the journal
}

// Needs is the cluster of an experiment. Its keyspaces are made before it begins.
type Needs struct {
	Nodes     int
	Timing    string // of elections, in one process: classroom, or production for late links
	Keyspaces []Keyspace
}

// Keyspace is one that the experiment needs, in the words of kvctl keyspace create.
// What is empty is the store's default; Replicas are as many as there are nodes.
type Keyspace struct {
	Name, Mode, Conflict, W, Durability string
	Replicas, Groups                    int
}

// Hypothesis is what holds while nothing is wrong.
type Hypothesis struct {
	Title  string
	Probes []*Activity
}

// Step is a part of a method: something that is said, asked, done, or several of these
// in that order.
type Step struct {
	Say      string
	Predict  *Prediction // nil: nothing is asked
	Activity *Activity   // nil: nothing is done
}

// Prediction is a question to whoever watches.
type Prediction struct {
	Ask     string
	Choices []string
	Answer  string // one of Choices
	Why     string // told with the answer
}

// Activity is an action or a probe.
type Activity struct {
	Type, Name    string
	Tolerance     *tolerance // nil: any answer will do
	Background    bool
	Before, After time.Duration // pauses
	provider      provider
	document      map[string]any // as the file has it, for the journal
}

// strategies say when the hypothesis is looked at and what is rolled back.
type strategies struct{ hypothesis, rollbacks string }

// setting is a value of the configuration, or where it is found.
type setting struct {
	value any
	env   string // the variable that holds it; "" is value
	kind  string // what a variable's text is read as: str, int, float, bool or json
	must  bool   // there is no default
}

// Limits of a file.
const (
	MaxFile       = 1 << 20 // bytes
	maxNodes      = 20_000  // of YAML, with what aliases stand for
	maxDepth      = 64
	maxSteps      = 200
	maxKeyspaces  = 20
	maxChoices    = 8
	maxText       = 4000 // bytes of one text
	maxPause      = 10 * time.Minute
	maxComplaints = 20
)

// Timings of a cluster: how soon a silent leader is replaced. Production has patience for
// links that are late.
const (
	Classroom  = "classroom"
	Production = "production"
)

// The words of a file.
var (
	rootWords       = []string{"version", "title", "description", "tags", "configuration", "secrets", "contributions", "cluster", "steady-state-hypothesis", "method", "rollbacks", "runtime", "extensions", "dry", "controls"}
	hypothesisWords = []string{"title", "probes", "controls"}
	activityWords   = []string{"type", "name", "provider", "tolerance", "background", "pauses", "controls", "ref"}
	stepWords       = append([]string{"say", "predict"}, activityWords...)
	predictWords    = []string{"ask", "choices", "answer", "why"}
	pauseWords      = []string{"before", "after"}
	clusterWords    = []string{"nodes", "timing", "keyspaces"}
	keyspaceWords   = []string{"name", "mode", "replicas", "groups", "conflict", "w", "durability"}
	settingWords    = []string{"type", "key", "default", "env_var_type"}

	hypothesisStrategies = []string{"default", "before-method-only", "after-method-only"}
	rollbackStrategies   = []string{"default", "always", "never", "deviated"}
	contributionWords    = []string{"high", "medium", "low", "none"}
	timings              = []string{Classroom, Production}
	settingKinds         = []string{"str", "int", "float", "bool", "json"}
)

// Package process runs pods as plain operating system processes: the container runtime that needs no root, no images
// and no other program. It implements runtime.Runtime and runtime.Streamer.
//
// # Use
//
//	func main() {
//		process.Main() // first: this program may be started again as the supervisor of a pod
//		rt, err := process.New(process.Config{Root: "/var/lib/example/runtime"})
//		...
//		defer rt.Close(ctx)
//	}
//
// A container's command and args are executed as they are; its image is a name and nothing more, unless Config.Images
// says what it would bring. A container without a command is refused.
//
// # Supervisors
//
// Each sandbox has a supervisor: this program, executed again, in a session of its own. It starts the containers,
// writes their logs in CRI's format, reaps, keeps exit codes, and writes the pod's state to Root after each change.
// It listens on a unix socket there; the agent (whoever holds the [Runtime]) asks it, and is told of every change.
// Because it outlives the agent, a new Runtime on the same Root finds all pods as they are, after Close as well as
// after kill -9, and restarts nothing. It ends when the sandbox is removed.
//
// A sandbox exists from the moment its record is on disk, which is before its supervisor is started. The supervisor
// inherits a file lock; a lock that is free means that no supervisor lives. Processes are known by pid and start
// time, and never killed on the word of a pid alone.
//
// In a program that does not call [Main] first thing, or with Config.InProcess, the agent itself supervises. Its pods
// end with it: on Close after Config.StopGrace, and on Linux, by the parent-death signal, also when it is killed. On
// other systems a killed agent leaves them running unsupervised, until the next Runtime on that Root kills them.
//
// # Namespaces
//
// On Linux a supervisor is started with the best of what the machine allows, which Status with verbose tells:
//
//   - as root: a mount namespace per container and a pid namespace per pod;
//   - as anybody else: the same inside a user namespace, in which the user has the same ids as outside and containers
//     have no capabilities;
//   - without a pid namespace where /proc can't be mounted (inside many containers);
//   - none.
//
// With a mount namespace a container sees the host's files, and on top its mounts, each at its own path. A path that
// does not exist is made in memory: the deepest directory that does exist is replaced, for that container, by one
// with the same entries. New files in such a directory stay in the container, and files that appear in the host's
// directory later are not seen. With it come the pod's hostname, its resolv.conf, and readOnlyRootFilesystem. Without
// a mount namespace a mount somewhere else than where it is on the host fails CreateContainer, and says what to do,
// unless the image's programs look for their mounts below a directory that they are told: see Image.MountRoot.
//
// With a pid namespace, killing the supervisor kills the pod. Without one, the parent-death signal ends main
// processes, and what is left is found by mount namespace, session and a marker in the environment
// (KEELSON_CONTAINER).
//
// # Stopping
//
// StopContainer sends the container's stop signal (SIGTERM) to the main process's group, and after the grace SIGKILL
// to every process of the container. When the main process ends, however it does, so do its descendants, as in a
// container. The sandbox calls give Config.StopGrace.
//
// # Network
//
// Processes are in the host's network. On Linux each pod has an address of its own from Config.Addresses, inside
// 127.0.0.0/8, which nobody else is given while the sandbox exists; programs are expected to bind to it ($(POD_IP)),
// and ports below the unprivileged limit need root. Elsewhere all pods are 127.0.0.1.
//
// # Concurrency and ownership
//
// A Runtime may be used from any goroutine. One Runtime at a time owns Root, which is only readable by its user. Calls
// about one container exclude each other where they must, different pods share nothing. Lists and statuses are answered
// from what supervisors have told, without asking them. A call whose context ends may still be carried out.
//
// # What it does not do
//
// It isolates nothing but the view of files: resources and limits are recorded and enforced by nobody (there are no
// cgroups), so nothing is ever reported as OOMKilled, and seccomp, capabilities and privileged mean nothing. Users
// other than the agent's are possible only for root; otherwise runAsUser is ignored, and containers run as the
// agent's user. Probing a pod's processes from another pod is not prevented. Checkpoints are refused. On darwin there
// are no namespaces, no terminals, no stats, and descendants that leave their process group are not found; on other
// systems New returns an error. A service manager that kills the whole group of processes of the agent (systemd's
// KillMode=control-group) kills the pods.
package process

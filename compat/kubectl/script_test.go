package kubectl

import (
	"testing"

	"github.com/keelson-dev/keelson"
	"github.com/keelson-dev/keelson/compat/cluster"
)

// TestScript is a day with kubectl, from the first look to the last deletion. Its parts follow each other: a later one
// uses what an earlier one made.
func TestScript(t *testing.T) {
	u := user{cluster.Start(t, keelson.Config{EmbeddedNetwork: true, Nodes: []keelson.NodeConfig{{Name: "n1"}, {Name: "n2"}}})}
	for _, part := range []struct {
		name  string
		steps []step
	}{
		{"look", look}, {"declare", declare}, {"edit", edit}, {"show", show}, {"roll", roll}, {"pods", pods}, {"server-side", serverSide},
		{"identity", identity}, {"custom", custom}, {"nodes", nodes}, {"remove", remove},
	} {
		if !t.Run(part.name, func(t *testing.T) { u.run(t, part.steps) }) {
			return
		}
	}
}

var look = []step{
	{line: "get --raw /version", want: `.*"gitVersion": ?"v1\.37\..*`},
	{line: "cluster-info", want: `.*Kubernetes control plane.* is running at .*https://127.*`},
	{line: "get nodes", until: true, want: `NAME +STATUS +ROLES +AGE +VERSION\nn1 +Ready +<none> +\S+ +v\S+\nn2 +Ready +<none> +\S+ +v\S+`},
	{line: "api-resources", want: `NAME +SHORTNAMES +APIVERSION +NAMESPACED +KIND\n.*\ndeployments +deploy +apps/v1 +true +Deployment\n.*`},
	{line: "api-resources --api-group=apps --namespaced -o name", want: `.*deployments\.apps\n.*`},
	{line: "api-versions", want: `.*apps/v1\n.*\nv1`},
	{line: "explain deployment.spec.replicas", want: `GROUP: +apps\nKIND: +Deployment\nVERSION: +v1\n\nFIELD: replicas <integer>\n\n+DESCRIPTION:\n.*`},
	{line: "explain pod --recursive", want: `.*containers\t<\[\]Container> -required-\n.*`},
	{line: "explain pod.spec.restartPolicy", want: `.*ENUM:\n.*Always\n.*OnFailure.*`},
	{line: "get --raw /readyz", want: `ok`},
	{line: "get --raw /readyz?verbose", want: `\[\+\]ping ok\n.*readyz check passed`},
	{line: "create namespace first", want: `namespace/first created`},
	{line: "create namespace first", want: `Error from server \(AlreadyExists\): namespaces "first" already exists`, fails: true},
	{line: "get namespaces first", want: `NAME +STATUS +AGE\nfirst +Active +\S+`},
	{line: "get pods", want: `No resources found in default namespace\.`},
	{line: "get pod nothing", want: `Error from server \(NotFound\): pods "nothing" not found`, fails: true},
	{line: "get nothings", want: `error: the server doesn't have a resource type "nothings"`, fails: true},
}

const web = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: c
        image: shell
        command: [sh, -c, 'echo started; trap "exit 0" TERM; while :; do sleep 0.1; done']
        env: [{name: COLOUR, value: blue}]
        ports: [{containerPort: 8080}]
`

const settings = `apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: web}}
data: {size: small, colour: blue}
`

const broken = `apiVersion: apps/v1
kind: Deployment
metadata: {name: broken}
spec:
  selector: {matchLabels: {app: broken}}
  template:
    metadata: {labels: {app: broken}}
    spec:
      containers:
      - {name: c, imagee: shell}
`

var declare = []step{
	{line: "diff -f -", in: web, want: `diff .*\n\+  name: web\n.*`, fails: true},
	{line: "apply --dry-run=server -f -", in: web, want: `deployment\.apps/web created \(server dry run\)`},
	{line: "get deployments", want: `No resources found in default namespace\.`},
	{line: "apply -f -", in: web, want: `deployment\.apps/web created`},
	{line: "apply -f -", in: web, want: `deployment\.apps/web unchanged`},
	{line: "apply -f -", in: settings, want: `configmap/settings created`},
	{line: "diff -f -", in: settings, want: ``},
	{line: "apply -f -", in: broken, fails: true, want: `.*unknown field "spec\.template\.spec\.containers\[0\]\.imagee".*`},
	{line: "apply --validate=warn -f -", in: broken, fails: true,
		want: `Warning: unknown field "spec\.template\.spec\.containers\[0\]\.imagee"\n.*spec\.template\.spec\.containers\[0\]\.image: Required value.*`},
	{line: "rollout status deployment/web", want: `.*deployment "web" successfully rolled out`},
	{line: "wait --for=condition=Available deployment/web", want: `deployment\.apps/web condition met`},
	{line: "wait --for=jsonpath={.status.readyReplicas}=2 deployment/web", want: `deployment\.apps/web condition met`},
	{line: "expose deployment web --port=80 --target-port=8080", want: `service/web exposed`},
	{line: "create configmap made --from-literal=a=1 --from-literal=b=2", want: `configmap/made created`},
	{line: "create secret generic hidden --from-literal=word=plover", want: `secret/hidden created`},
	{line: "create job once --image=shell -- sh -c true", want: `job\.batch/once created`},
	{line: "wait --for=condition=Complete job/once", want: `job\.batch/once condition met`},
	{line: "create serviceaccount robot", want: `serviceaccount/robot created`},
	{line: "create role reader --verb=get,list --resource=pods", want: `role\.rbac\.authorization\.k8s\.io/reader created`},
	{line: "create rolebinding reader --role=reader --serviceaccount=default:robot", want: `rolebinding\.rbac\.authorization\.k8s\.io/reader created`},
	{line: "create quota tight --hard=pods=50", want: `resourcequota/tight created`},
	{line: "create poddisruptionbudget web --selector=app=web --min-available=1", want: `poddisruptionbudget\.policy/web created`},
	{line: "create ingress web --rule=example.test/*=web:80", want: `ingress\.networking\.k8s\.io/web created`},
	{line: "create cronjob nightly --image=shell --schedule=@daily -- true", want: `cronjob\.batch/nightly created`},
	{line: "create priorityclass high --value=1000", want: `priorityclass\.scheduling\.k8s\.io/high created`},
	{line: "autoscale deployment web --min=2 --max=5 --cpu=50%", want: `.*horizontalpodautoscaler\.autoscaling/web autoscaled`},
}

var edit = []step{
	{line: "edit configmap settings", env: map[string]string{"KUBE_EDITOR": "sed -i s/blue/green/"}, want: `configmap/settings edited`},
	{line: "get configmap settings -o jsonpath={.data.colour}", want: `green`},
	{line: "edit configmap settings", env: map[string]string{"KUBE_EDITOR": "true"}, want: `Edit cancelled, no changes made\.`},
	{line: `patch configmap settings -p {"data":{"size":"large"}}`, want: `configmap/settings patched`},
	{line: `patch configmap settings --type=merge -p {"data":{"colour":null}}`, want: `configmap/settings patched`},
	{line: `patch configmap settings --type=json -p [{"op":"add","path":"/data/extra","value":"1"}]`, want: `configmap/settings patched`},
	{line: "get configmap settings -o jsonpath={.data}", want: `\{"extra":"1","size":"large"\}`},
	{line: "label configmap settings tier=front", want: `configmap/settings labeled`},
	{line: "label configmap settings tier=back", fails: true, want: `error: 'tier' already has a value \(front\), and --overwrite is false`},
	{line: "label configmap settings tier=back --overwrite", want: `configmap/settings labeled`},
	{line: "label configmap settings tier-", want: `configmap/settings unlabeled`},
	{line: "annotate configmap settings note=first", want: `configmap/settings annotated`},
	{line: "set env deployment/web SHAPE=round", want: `deployment\.apps/web env updated`},
	{line: "set image deployment/web c=shell:2", want: `deployment\.apps/web image updated`},
	{line: "set resources deployment/web --requests=cpu=10m", want: `deployment\.apps/web resource requirements updated`},
	{line: "replace -f -", in: settings, want: `configmap/settings replaced`},
	{line: "scale deployment web --replicas=3", want: `deployment\.apps/web scaled`},
	{line: "scale deployment web --current-replicas=9 --replicas=1", fails: true, want: `error: Expected replicas to be 9, was 3`},
	{line: "get deployment web --subresource=scale -o jsonpath={.spec.replicas}", want: `3`},
	{line: "rollout status deployment/web", want: `.*deployment "web" successfully rolled out`},
}

var show = []step{
	{line: "get deployments", want: `NAME +READY +UP-TO-DATE +AVAILABLE +AGE\nweb +3/3 +3 +3 +\S+`},
	{line: "get deployments -o wide", want: `NAME +READY +UP-TO-DATE +AVAILABLE +AGE +CONTAINERS +IMAGES +SELECTOR\nweb +3/3 +3 +3 +\S+ +c +shell:2 +app=web`},
	{line: "get pods -l app=web", until: true, want: `NAME +READY +STATUS +RESTARTS +AGE(\nweb-\S+ +1/1 +Running +0 +\S+){3}`},
	{line: "get pods -l app=web -o wide", want: `NAME +READY +STATUS +RESTARTS +AGE +IP +NODE +NOMINATED NODE +READINESS GATES(\nweb-\S+ +1/1 +Running +0 +\S+ +127\.\S+ +n[12] +<none> +<none>){3}`},
	{line: "get pods -l app=web --show-labels --no-headers", want: `(web-\S+ +1/1 +Running +0 +\S+ +app=web,pod-template-hash=\S+\n?){3}`},
	{line: "get pods --field-selector=status.phase=Running -o name", want: `(pod/web-\S+\n?){3}`},
	{line: "get pods --field-selector=spec.nothing=1", fails: true, want: `.*field label not supported: spec\.nothing.*`},
	{line: "get deployment web -o name", want: `deployment\.apps/web`},
	{line: "get deployment web -o json", want: `\{\n    "apiVersion": "apps/v1",\n    "kind": "Deployment",\n.*`, absent: `managedFields`},
	{line: "get deployment web -o yaml --show-managed-fields", want: `apiVersion: apps/v1\nkind: Deployment\n.*managedFields:\n.*manager: kubectl-client-side-apply\n.*`},
	{line: "get deployment web -o yaml", want: `apiVersion: apps/v1\nkind: Deployment\n.*`, absent: `managedFields`},
	{line: "get deployments -o jsonpath={.items[*].metadata.name}", want: `web`},
	{line: "get deployments -o go-template={{range.items}}{{.metadata.name}}{{end}}", want: `web`},
	{line: "get deployments -o custom-columns=NAME:.metadata.name,SIZE:.spec.replicas", want: `NAME +SIZE\nweb +3`},
	{line: "get deployment,configmap -l app=web -o name", want: `deployment\.apps/web\nconfigmap/settings`},
	{line: "get pods -A --sort-by=.metadata.name --chunk-size=1 -o name", want: `(pod/\S+\n?){4,}`},
	{line: "get all", want: `.*pod/web-.*service/web.*deployment\.apps/web.*replicaset\.apps/web-.*job\.batch/once.*`},
	{line: "get services web", want: `NAME +TYPE +CLUSTER-IP +EXTERNAL-IP +PORT\(S\) +AGE\nweb +ClusterIP +127\.\S+ +<none> +80/TCP +\S+`},
	{line: "get job once", want: `NAME +STATUS +COMPLETIONS +DURATION +AGE\nonce +Complete +1/1 +\S+ +\S+`},
	{line: "get cronjob nightly", want: `NAME +SCHEDULE +TIMEZONE +SUSPEND +ACTIVE +LAST SCHEDULE +AGE\nnightly +@daily +<none> +False +0 +<none> +\S+`},
	{line: "get quota tight", want: `NAME +REQUEST +LIMIT +AGE\ntight +.*`},
	{line: "get pdb web", want: `NAME +MIN AVAILABLE +MAX UNAVAILABLE +ALLOWED DISRUPTIONS +AGE\nweb +1 +N/A +\d+ +\S+`},
	{line: "get ingress web", want: `NAME +CLASS +HOSTS +ADDRESS +PORTS +AGE\nweb +<none> +example\.test +80 +\S+`},
	{line: "get hpa web", want: `NAME +REFERENCE +TARGETS +MINPODS +MAXPODS +REPLICAS +AGE\nweb +Deployment/web +.*`},
	{line: "get secret hidden", want: `NAME +TYPE +DATA +AGE\nhidden +Opaque +1 +\S+`},
	{line: "get endpointslices -l kubernetes.io/service-name=web", want: `NAME +ADDRESSTYPE +PORTS +ENDPOINTS +AGE\nweb-\S+ +IPv4 +8080 +127\.\S+ +\S+`},
	{line: "describe deployment web", want: `Name: +web\nNamespace: +default\n.*Replicas: +3 desired \| 3 updated \| 3 total \| 3 available \| 0 unavailable\n.*ScalingReplicaSet.*`},
	{line: "describe pods -l app=web", want: `Name: +web-.*Status: +Running\n.*QoS Class: +Burstable.*`},
	{line: "describe node n1", want: `Name: +n1\n.*Conditions:\n.*Ready +True.*Allocated resources:.*`},
	{line: "describe service web", want: `Name: +web\n.*Type: +ClusterIP\n.*Endpoints: +127\..*`},
	{line: "events --for deployment/web", want: `LAST SEEN +TYPE +REASON +OBJECT +MESSAGE\n.*ScalingReplicaSet +Deployment/web +Scaled up .*`},
	{line: "get events --field-selector=involvedObject.name=web", want: `LAST SEEN +TYPE +REASON +OBJECT +MESSAGE\n.*deployment/web.*`},
}

var roll = []step{
	{line: "rollout history deployment/web", want: `deployment\.apps/web \nREVISION +CHANGE-CAUSE\n1 +<none>\n.*`},
	{line: "rollout history deployment/web --revision=1", want: `deployment\.apps/web with revision #1\nPod Template:\n.*COLOUR:\s+blue.*`},
	{line: "rollout undo deployment/web --to-revision=1", want: `(Warning: .*\n)?deployment\.apps/web rolled back`},
	{line: "rollout status deployment/web", want: `.*deployment "web" successfully rolled out`},
	{line: "rollout pause deployment/web", want: `deployment\.apps/web paused`},
	{line: "rollout resume deployment/web", want: `deployment\.apps/web resumed`},
	{line: "rollout restart deployment/web", want: `deployment\.apps/web restarted`},
	{line: "rollout status deployment/web", want: `.*deployment "web" successfully rolled out`},
}

const sleeper = `apiVersion: v1
kind: Pod
metadata: {name: sleeper}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: shell
    command: [sh, -c, 'echo one; echo two; trap "exit 0" TERM; while :; do sleep 0.1; done']
`

var pods = []step{
	{line: "apply -f -", in: sleeper, want: `pod/sleeper created`},
	{line: "wait --for=condition=Ready pod/sleeper", want: `pod/sleeper condition met`},
	{line: "describe pod sleeper", want: `Name: +sleeper\n.*Status: +Running\n.*Events:\n.*Scheduled.*Started.*`},
	{line: "logs sleeper", until: true, want: `one\ntwo`},
	{line: "logs sleeper --tail=1 --timestamps", want: `\d{4}-\d\d-\d\dT\S+Z two`},
	{line: "logs -l app=web --prefix", until: true, want: `(\[pod/web-\S+/c\] started\n?){3}`},
	{line: "logs sleeper -c nothing", fails: true, want: `error: container nothing is not valid for pod sleeper.*`},
	{line: "exec sleeper -- echo hello", want: `hello`},
	{line: "exec -i sleeper -- cat", in: "through", want: `through`},
	{line: "exec sleeper -- false", fails: true, want: `command terminated with exit code 1`},
	{line: "exec deployment/web -- printenv COLOUR", want: `blue`},
	{args: []string{"run", "fleeting", "--image=shell", "--restart=Never", "--rm", "-i", "--command", "--", "sh", "-c", "echo ran"}, want: `.*ran\n.*pod "fleeting" deleted.*`},
	{line: "delete pod sleeper", want: `pod "sleeper" deleted from default namespace`},
}

const front = `apiVersion: v1
kind: ConfigMap
metadata: {name: shared}
data: {colour: blue, size: small}
`

const other = `apiVersion: v1
kind: ConfigMap
metadata: {name: shared}
data: {colour: red}
`

var serverSide = []step{
	{line: "apply --server-side -f -", in: front, want: `configmap/shared serverside-applied`},
	{line: "apply --server-side --field-manager=other -f -", in: other, fails: true, want: `error: Apply failed with 1 conflict: conflict with "kubectl": \.data\.colour\n.*`},
	{line: "apply --server-side --field-manager=other --force-conflicts -f -", in: other, want: `configmap/shared serverside-applied`},
	{line: "get configmap shared -o jsonpath={.data}", want: `\{"colour":"red","size":"small"\}`},
	{line: "diff --server-side --force-conflicts -f -", in: front, fails: true, want: `diff .*\n-  colour: red\n\+  colour: blue\n.*`},
	{line: "apply --server-side -f -", in: web, fails: true, want: `(?i).*conflict.*`},
	{line: "apply --server-side --force-conflicts -f -", in: web, want: `.*deployment\.apps/web serverside-applied`},
	{line: "apply -f -", in: settings, want: `(Warning: .*\n)?configmap/settings configured`},
	{line: "apply view-last-applied configmap/settings", want: `.*colour: blue.*`},
}

var identity = []step{
	{line: "auth can-i create pods", want: `yes`},
	{line: "auth can-i list pods --as=system:serviceaccount:default:robot", want: `yes`},
	{line: "auth can-i delete pods --as=system:serviceaccount:default:robot", want: `no`, fails: true},
	{line: "get configmaps --as=system:serviceaccount:default:robot", fails: true,
		want: `Error from server \(Forbidden\): configmaps is forbidden: User "system:serviceaccount:default:robot" cannot list resource "configmaps" in API group "" in the namespace "default"`},
	{line: "auth whoami", want: `ATTRIBUTE +VALUE\nUsername +\S+\n.*`},
	{line: "auth reconcile -f -", in: "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: reader, namespace: default}\nrules: [{apiGroups: [''], resources: [pods], verbs: [get, list, watch]}]\n",
		want: `role\.rbac\.authorization\.k8s\.io/reader reconciled\n.*`},
}

const fleets = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: fleets.games.example.com}
spec:
  group: games.example.com
  names: {kind: Fleet, plural: fleets, singular: fleet, shortNames: [fl]}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.ready}
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {type: integer, minimum: 1, description: How many servers.}
              map: {type: string, default: plain}
            x-kubernetes-validations:
            - {rule: "self.size < 100", message: too large a fleet}
          status:
            type: object
            properties:
              ready: {type: integer}
`

func fleet(size string) string {
	return "apiVersion: games.example.com/v1\nkind: Fleet\nmetadata: {name: lobby}\nspec: {size: " + size + "}\n"
}

var custom = []step{
	{line: "apply -f -", in: fleets, want: `customresourcedefinition\.apiextensions\.k8s\.io/fleets\.games\.example\.com created`},
	{line: "wait --for=condition=Established crd/fleets.games.example.com", want: `customresourcedefinition\.apiextensions\.k8s\.io/fleets\.games\.example\.com condition met`},
	{line: "apply -f -", in: fleet("3"), want: `fleet\.games\.example\.com/lobby created`},
	{line: "get fl", want: `NAME +SIZE\nlobby +3`},
	{line: "get fleet lobby -o jsonpath={.spec}", want: `\{"map":"plain","size":3\}`},
	{line: "explain fleet.spec.size", want: `.*FIELD: size <integer>\n.*How many servers\..*`},
	{line: "apply -f -", in: fleet("0"), fails: true, want: `.*spec\.size: Invalid value: 0: spec\.size in body should be greater than or equal to 1.*`},
	{line: "apply -f -", in: fleet("200"), fails: true, want: `.*too large a fleet.*`},
	{line: "scale fleet lobby --replicas=5", want: `fleet\.games\.example\.com/lobby scaled`},
	{line: "get fleet lobby -o jsonpath={.spec.size}", want: `5`},
	{line: "apply --server-side -f -", in: fleet("5"), want: `fleet\.games\.example\.com/lobby serverside-applied`},
	{line: "delete crd fleets.games.example.com", want: `customresourcedefinition\.apiextensions\.k8s\.io "fleets\.games\.example\.com" deleted`},
	{line: "get fleets", fails: true, want: `(?i)error.*(the server could not find the requested resource|doesn't have a resource type "fleets")`},
}

var nodes = []step{
	{line: "cordon n2", want: `node/n2 cordoned`},
	{line: "get node n2", want: `NAME +STATUS +ROLES +AGE +VERSION\nn2 +Ready,SchedulingDisabled +<none> +\S+ +\S+`},
	{line: "drain n2 --ignore-daemonsets --delete-emptydir-data --force", want: `.*node/n2 drained`},
	{line: "get pods --field-selector=spec.nodeName=n2,status.phase=Running -o name", want: ``},
	{line: "uncordon n2", want: `node/n2 uncordoned`},
	{line: "taint node n2 slow=yes:NoSchedule", want: `node/n2 tainted`},
	{line: "taint node n2 slow-", want: `node/n2 untainted`},
	{line: "rollout status deployment/web", want: `.*deployment "web" successfully rolled out`},
}

var remove = []step{
	{line: "delete configmap made --dry-run=server", want: `configmap "made" deleted from default namespace \(server dry run\)`},
	{line: "delete configmap made", want: `configmap "made" deleted from default namespace`},
	{line: "delete configmap made --ignore-not-found", want: ``},
	{line: "delete configmap made", fails: true, want: `Error from server \(NotFound\): configmaps "made" not found`},
	{line: "delete deployment web --cascade=orphan", want: `deployment\.apps "web" deleted from default namespace`},
	{line: "get replicasets -l app=web -o name", want: `(replicaset\.apps/web-\S+\n?)+`},
	{line: "apply -f -", in: web, want: `deployment\.apps/web created`},
	{line: "rollout status deployment/web", want: `.*deployment "web" successfully rolled out`},
	{line: "delete deployment web --cascade=foreground", want: `deployment\.apps "web" deleted from default namespace`},
	{line: "get replicasets,pods -l app=web -o name", until: true, want: ``},
	{line: "delete job once --cascade=background", want: `job\.batch "once" deleted from default namespace`},
	{line: "delete namespace first", want: `namespace "first" deleted`},
	{line: "delete configmaps,secrets --all", want: `.*configmap "settings" deleted.*secret "hidden" deleted.*`},
}

package builtin_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"testing"

	"github.com/stretchr/testify/require"
)

func networkRules() []rules {
	return []rules{{
		valid: "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {podSelector: {}, ingress: [{ports: [{port: 80, endPort: 90}], from: [{podSelector: {}}]}]}\n",
		creates: []rule{
			{"{spec: {ingress: [{from: [{}]}]}}", []string{"spec.ingress[0].from[0]: Required value: must specify a peer"}},
			{"{spec: {ingress: [{from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}]}}", []string{"spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer"}},
			{"{spec: {egress: [{to: [{ipBlock: {cidr: ''}}]}]}}", []string{"spec.egress[0].to[0].ipBlock.cidr: Required value"}},
			{"{spec: {egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]}}", []string{"spec.egress[0].to[0].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`"}},
			{"{spec: {ingress: [{ports: [{port: 70000}]}]}}", []string{"spec.ingress[0].ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive"}},
			{"{spec: {ingress: [{ports: [{port: 80, endPort: 70}]}]}}", []string{"spec.ingress[0].ports[0].endPort: Invalid value: 70: must be greater than or equal to `port`"}},
			{"{spec: {ingress: [{ports: [{port: web, endPort: 70}]}]}}", []string{"spec.ingress[0].ports[0].endPort: Invalid value: 70: may not be specified when `port` is non-numeric"}},
			{"{spec: {ingress: [{ports: [{endPort: 70}]}]}}", []string{"spec.ingress[0].ports[0].endPort: Invalid value: 70: may not be specified when `port` is not specified"}},
			{"{spec: {ingress: [{ports: [{protocol: ICMP}]}]}}", []string{`spec.ingress[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "TCP", "UDP", "SCTP"`}},
			{"{spec: {policyTypes: [Sideways]}}", []string{`spec.policyTypes[0]: Unsupported value: "Sideways": supported values: "Ingress", "Egress"`}},
			{"{spec: {policyTypes: [Ingress, Egress, Ingress]}}", []string{"spec.policyTypes: Invalid value"}},
		},
	}, {
		valid: "apiVersion: networking.k8s.io/v1\nkind: IPAddress\nmetadata: {name: '2001:db8::1'}\nspec: {parentRef: {resource: services, namespace: a, name: web}}\n",
		creates: []rule{
			{"{metadata: {name: web}}", []string{`metadata.name: Invalid value: "web": must be a valid IP address`}},
			{"{spec: {parentRef: null}}", []string{"spec.parentRef: Required value"}},
			{"{spec: {parentRef: {resource: '', name: ''}}}", []string{"spec.parentRef.resource: Required value", "spec.parentRef.name: Required value"}},
		},
		updates: []rule{{"{spec: {parentRef: {name: other}}}", []string{"spec.parentRef: Invalid value"}}},
	}, {
		valid: "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: more}\nspec: {cidrs: [10.1.0.0/16]}\n",
		creates: []rule{
			{"{spec: {cidrs: []}}", []string{"spec.cidrs: Required value: at least one CIDR required"}},
			{"{spec: {cidrs: [a]}}", []string{`spec.cidrs[0]: Invalid value: "a": must be a valid CIDR value`}},
			{"{spec: {cidrs: [10.1.0.0/16, 10.2.0.0/16]}}", []string{`spec.cidrs: Invalid value: ["10.1.0.0/16","10.2.0.0/16"]: may specify no more than one IP for each IP family`}},
			{"{spec: {cidrs: [10.1.0.0/16, '2001:db8::/64', 10.3.0.0/16]}}", []string{"spec.cidrs: Invalid value"}},
		},
		updates: []rule{
			{"{spec: {cidrs: [10.1.0.0/16, '2001:db8::/64']}}", nil},
			{"{spec: {cidrs: [10.2.0.0/16]}}", []string{`spec.cidrs[0]: Invalid value: "10.2.0.0/16": field is immutable`}},
		},
	}}
}

func policyRules() []rules {
	const webhook = "\nmetadata: {name: w}\nwebhooks: [{name: a.example.com, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {url: 'https://a.example/x'}, rules: [{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]}]\n"
	hook := func(fields string) string {
		return "{webhooks: [{name: a.example.com, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {url: 'https://a.example/x'}, " + fields + "}]}"
	}
	hooks := []rule{
		{"{webhooks: [{name: a, sideEffects: null, admissionReviewVersions: [], clientConfig: {}}]}", []string{
			"webhooks[0].name: Invalid value: \"a\": should be a domain with at least three segments separated by dots", "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
			"webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1", "webhooks[0].clientConfig: Required value: exactly one of url or service is required"}},
		{hook("failurePolicy: Shrug"), []string{`webhooks[0].failurePolicy: Unsupported value: "Shrug": supported values: "Fail", "Ignore"`}},
		{hook("matchPolicy: Near"), []string{`webhooks[0].matchPolicy: Unsupported value: "Near": supported values: "Equivalent", "Exact"`}},
		{hook("timeoutSeconds: 31"), []string{"webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"}},
		{hook("rules: [{operations: ['*', CREATE], apiGroups: [], apiVersions: ['*', v1], resources: ['*', pods]}]"), []string{
			"webhooks[0].rules[0].operations: Invalid value", "webhooks[0].rules[0].apiGroups: Required value", "webhooks[0].rules[0].apiVersions: Invalid value", "webhooks[0].rules[0].resources: Invalid value"}},
		{hook("rules: [{operations: [CREATE], apiGroups: [a], apiVersions: [v1], resources: [pods/*, pods/log]}]"), []string{`webhooks[0].rules[0].resources[1]: Invalid value: "pods/log": if 'pods/*' is present, must not specify pods/log`}},
		{hook("matchConditions: [{name: a, expression: ' '}]"), []string{"webhooks[0].matchConditions[0].expression: Required value"}},
		{"{webhooks: [{name: a.example.com, sideEffects: Some, admissionReviewVersions: [v7], clientConfig: {url: 'http://u@a/x?y#z'}}]}", []string{
			`webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"`, "webhooks[0].admissionReviewVersions: Invalid value", `webhooks[0].clientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme`,
			`webhooks[0].clientConfig.url: Invalid value: "u": user information`, `webhooks[0].clientConfig.url: Invalid value: "z": fragments`, `webhooks[0].clientConfig.url: Invalid value: "y": query`}},
		{"{webhooks: [{name: a.example.com, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {service: {name: '', namespace: '', path: 'a', port: 0}}}]}", []string{
			"webhooks[0].clientConfig.service.name: Required value: service name is required", "webhooks[0].clientConfig.service.namespace: Required value: service namespace is required",
			"webhooks[0].clientConfig.service.path: Invalid value: \"a\": must start with a '/'", "webhooks[0].clientConfig.service.port: Invalid value: 0: port is not valid"}},
	}
	const match = "matchConstraints: {resourceRules: [{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]}"
	return []rules{
		{valid: "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration" + webhook, creates: hooks},
		{valid: "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration" + webhook, creates: append(hooks,
			rule{hook("reinvocationPolicy: Twice"), []string{`webhooks[0].reinvocationPolicy: Unsupported value: "Twice": supported values: "IfNeeded", "Never"`}})},
		{
			valid: "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: p}\nspec: {" + match + ", validations: [{expression: 'true'}]}\n",
			creates: []rule{
				{"{spec: {matchConstraints: null, validations: null}}", []string{"spec.matchConstraints: Required value", "spec.validations: Required value", "spec.auditAnnotations: Required value"}},
				{"{spec: {matchConstraints: {resourceRules: null}}}", []string{"spec.matchConstraints.resourceRules: Required value"}},
				{"{spec: {failurePolicy: Shrug}}", []string{"spec.failurePolicy: Unsupported value"}},
				{"{spec: {validations: [{expression: '', reason: Odd}]}}", []string{"spec.validations[0].expression: Required value: expression is not specified", `spec.validations[0].reason: Unsupported value: "Odd"`}},
				{"{spec: {paramKind: {apiVersion: a/b/c, kind: ''}}}", []string{`spec.paramKind.apiVersion: Invalid value: "a/b/c"`, "spec.paramKind.kind: Required value"}},
				{"{spec: {variables: [{name: '', expression: ''}]}}", []string{"spec.variables[0].name: Required value: name is not specified", "spec.variables[0].expression: Required value: expression is not specified"}},
				{"{spec: {auditAnnotations: [{key: '', valueExpression: ''}]}}", []string{"spec.auditAnnotations[0].key: Required value", "spec.auditAnnotations[0].valueExpression: Required value"}},
			},
		}, {
			valid: "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: b}\nspec: {policyName: p, validationActions: [Deny]}\n",
			creates: []rule{
				{"{spec: {policyName: '', validationActions: []}}", []string{"spec.policyName: Required value", "spec.validationActions: Required value: at least one validation action is required"}},
				{"{spec: {validationActions: [Deny, Warn]}}", []string{"spec.validationActions: Invalid value"}},
				{"{spec: {validationActions: [Deny, Deny, Shout]}}", []string{`spec.validationActions[1]: Duplicate value: "Deny"`, `spec.validationActions[2]: Unsupported value: "Shout": supported values: "Audit", "Deny", "Warn"`}},
				{"{spec: {paramRef: {}}}", []string{"spec.paramRef: Required value: one of name or selector must be specified", "spec.paramRef.parameterNotFoundAction: Required value"}},
				{"{spec: {paramRef: {name: a, selector: {}, parameterNotFoundAction: Deny}}}", []string{"spec.paramRef.name: Forbidden: name and selector are mutually exclusive", "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive"}},
			},
		}, {
			valid: "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingAdmissionPolicy\nmetadata: {name: p}\nspec: {reinvocationPolicy: Never, " + match + ", mutations: [{patchType: JSONPatch, jsonPatch: {expression: '[]'}}]}\n",
			creates: []rule{
				{"{spec: {mutations: null, reinvocationPolicy: ''}}", []string{"spec.mutations: Required value: mutations must contain at least one item", "spec.reinvocationPolicy: Required value"}},
				{"{spec: {mutations: [{patchType: ApplyConfiguration}]}}", []string{"spec.mutations[0].applyConfiguration: Required value"}},
				{"{spec: {matchConstraints: {resourceRules: [{operations: [DELETE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]}}}", []string{`spec.matchConstraints.resourceRules.operations: Unsupported value: "DELETE": supported values: "CREATE", "UPDATE"`}},
			},
		}, {
			valid:   "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingAdmissionPolicyBinding\nmetadata: {name: b}\nspec: {policyName: p}\n",
			creates: []rule{{"{spec: {policyName: ''}}", []string{"spec.policyName: Required value"}}},
		}, {
			valid: "apiVersion: flowcontrol.apiserver.k8s.io/v1\nkind: FlowSchema\nmetadata: {name: f}\nspec: {priorityLevelConfiguration: {name: l}, rules: [{subjects: [{kind: User, user: {name: a}}], nonResourceRules: [{verbs: [get], nonResourceURLs: [/x]}]}]}\n",
			creates: []rule{
				{"{spec: {matchingPrecedence: -1, priorityLevelConfiguration: {name: ''}}}", []string{"spec.matchingPrecedence: Invalid value: -1: must be a positive value", "spec.priorityLevelConfiguration.name: Required value: must reference a priority level"}},
				{"{spec: {matchingPrecedence: 1}}", []string{"spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"}},
				{"{spec: {matchingPrecedence: 10001}}", []string{"spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000"}},
				{"{spec: {distinguisherMethod: {type: ByMood}}}", []string{`spec.distinguisherMethod.type: Unsupported value: "ByMood": supported values: "ByNamespace", "ByUser"`}},
				{"{spec: {rules: [{subjects: [{kind: User, group: {name: a}}]}]}}", []string{
					"spec.rules[0].subjects[0].user: Required value", "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'", "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty"}},
			},
		}, {
			valid: "apiVersion: flowcontrol.apiserver.k8s.io/v1\nkind: PriorityLevelConfiguration\nmetadata: {name: l}\nspec: {type: Limited, limited: {limitResponse: {type: Queue, queuing: {}}}}\n",
			creates: []rule{
				{"{spec: {type: Exempt}}", []string{"spec.type: Invalid value", "spec.limited: Forbidden: must be nil if the type is not Limited"}},
				{"{spec: {limited: null}}", []string{"spec.limited: Required value: must not be empty when type is Limited"}},
				{"{spec: {limited: {lendablePercent: 101, limitResponse: {queuing: {handSize: 65}}}}}", []string{
					"spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive", "spec.limited.limitResponse.queuing.handSize: Invalid value: 65: should not be greater than queues (64)"}},
				{"{spec: {limited: {limitResponse: {type: Reject}}}}", []string{"spec.limited.limitResponse.queuing: Forbidden"}},
			},
		},
	}
}

// certificateRequestPEM is a signed request, as PEM.
func certificateRequestPEM(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "a"}}, key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func certificateRules(t *testing.T) []rules {
	request := base64.StdEncoding.EncodeToString(certificateRequestPEM(t))
	return []rules{{
		valid: "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {name: 'node:1'}\nspec: {request: " + request + ", signerName: example.com/sign, usages: [client auth]}\n",
		creates: []rule{
			{"{spec: {request: YQ==}}", []string{"spec.request: Invalid value"}},
			{"{spec: {usages: []}}", []string{"spec.usages: Required value"}},
			{"{spec: {usages: [client auth, client auth, fun]}}", []string{`spec.usages[1]: Duplicate value: "client auth"`, `spec.usages[2]: Unsupported value: "fun"`}},
			{"{spec: {signerName: ''}}", []string{"spec.signerName: Required value"}},
			{"{spec: {signerName: example}}", []string{`spec.signerName: Invalid value: "example": must be a fully qualified domain and path of the form 'example.com/signer-name'`}},
			{"{spec: {signerName: kubernetes.io/legacy-unknown}}", []string{"spec.signerName: Invalid value"}},
			{"{spec: {expirationSeconds: 599}}", []string{"spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)"}},
		},
		updates: []rule{
			{"{spec: {signerName: other.com/x}}", nil}, // put back
			{"{status: {conditions: [{type: Approved, status: 'True'}]}}", []string{`status.conditions: Forbidden: updates may not add a condition of type "Approved"`}},
		},
	}, {
		valid: "apiVersion: certificates.k8s.io/v1\nkind: PodCertificateRequest\nmetadata: {name: a}\nspec: {signerName: example.com/sign, podName: p, podUID: u, serviceAccountName: s, serviceAccountUID: u, nodeName: n1, nodeUID: u, stubPKCS10Request: " + stub(t) + "}\n",
		creates: []rule{
			{"{spec: {podUID: '', maxExpirationSeconds: 5}}", []string{`spec.podUID: Invalid value: "": must not be empty`, "spec.maxExpirationSeconds: Invalid value: 5: must be in the range [3600, 7862400]"}},
			{"{spec: {stubPKCS10Request: YQ==}}", []string{"spec.stubPKCS10Request: Invalid value"}},
		},
		updates: []rule{{"{spec: {podName: q}}", []string{"spec: Invalid value"}}},
	}}
}

func stub(t *testing.T) string {
	block, _ := pem.Decode(certificateRequestPEM(t))
	return base64.StdEncoding.EncodeToString(block.Bytes)
}

func deviceRules() []rules {
	return []rules{{
		valid: "apiVersion: resource.k8s.io/v1\nkind: ResourceClaim\nmetadata: {name: c}\nspec: {devices: {requests: [{name: gpu, exactly: {deviceClassName: gpu}}]}}\n",
		creates: []rule{
			{"{spec: {devices: {requests: [{name: gpu}]}}}", []string{"spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"}},
			{"{spec: {devices: {requests: [{name: gpu, exactly: {deviceClassName: '', count: -1}}]}}}", []string{"spec.devices.requests[0].exactly.deviceClassName: Required value", "spec.devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero"}},
			{"{spec: {devices: {requests: [{name: gpu, exactly: {deviceClassName: a, allocationMode: All, count: 2}}]}}}", []string{"spec.devices.requests[0].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'"}},
			{"{spec: {devices: {constraints: [{requests: [cpu], matchAttribute: a/b}]}}}", []string{`spec.devices.constraints[0].requests[0]: Invalid value: "cpu"`}},
		},
		updates: []rule{{"{spec: {devices: {requests: []}}}", []string{"spec: Invalid value"}}},
	}, {
		valid:   "apiVersion: resource.k8s.io/v1\nkind: ResourceClaimTemplate\nmetadata: {name: c}\nspec: {spec: {devices: {requests: [{name: gpu, exactly: {deviceClassName: gpu}}]}}}\n",
		creates: []rule{{"{spec: {spec: {devices: {requests: [{name: '', exactly: {deviceClassName: a}}]}}}}", []string{"spec.spec.devices.requests[0].name: Required value"}}},
	}, {
		valid:   "apiVersion: resource.k8s.io/v1\nkind: DeviceClass\nmetadata: {name: gpu}\nspec: {selectors: [{cel: {expression: 'true'}}]}\n",
		creates: []rule{{"{spec: {selectors: [{}], config: [{}]}}", []string{"spec.selectors[0].cel: Required value", "spec.config[0].opaque: Required value"}}},
	}, {
		valid:   "apiVersion: resource.k8s.io/v1\nkind: DeviceTaintRule\nmetadata: {name: r}\nspec: {taint: {key: a, effect: NoSchedule}}\n",
		creates: []rule{{"{spec: {taint: {key: '', effect: Shake}}}", []string{"spec.taint.key: Required value", `spec.taint.effect: Unsupported value: "Shake": supported values: "NoExecute", "NoSchedule", "None"`}}},
	}, {
		valid: "apiVersion: resource.k8s.io/v1\nkind: ResourceSlice\nmetadata: {name: s}\nspec: {driver: d.example.com, nodeName: n1, pool: {name: p, resourceSliceCount: 1}, devices: [{name: a}]}\n",
		creates: []rule{
			{"{spec: {nodeName: null}}", []string{"spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"}},
			{"{spec: {allNodes: true}}", []string{"spec: Invalid value: \"{`nodeName`, `allNodes`}\""}},
			{"{spec: {pool: {name: '', resourceSliceCount: 0, generation: -1}}}", []string{"spec.pool.name: Required value", "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero", "spec.pool.generation: Invalid value: -1"}},
			{"{spec: {devices: [{name: a}, {name: a}]}}", []string{`spec.devices[1]: Duplicate value: "a"`}},
		},
		updates: []rule{{"{spec: {driver: other.example.com}}", []string{`spec.driver: Invalid value: "other.example.com": field is immutable`}}},
	}, {
		valid:   "apiVersion: storagemigration.k8s.io/v1\nkind: StorageVersionMigration\nmetadata: {name: m}\nspec: {resource: {resource: pods}}\n",
		creates: []rule{{"{spec: {resource: {resource: ''}}}", []string{"spec.resource.resource: Required value: resource is required to be set"}}},
		updates: []rule{{"{spec: {resource: {resource: nodes}}}", []string{"spec: Invalid value"}}},
	}}
}

package builtin_test

func podRules() []rules {
	container := func(fields string) string {
		return "{spec: {containers: [{name: web, image: web, " + fields + "}]}}"
	}
	return []rules{{
		valid: podOf("", ""),
		creates: []rule{
			{"{spec: {activeDeadlineSeconds: 0}}", []string{"spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"}},
			{"{spec: {dnsPolicy: None}}", []string{"spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"}},
			{"{spec: {dnsConfig: {searches: [a_b.example, .]}}}", nil},
			{"{spec: {dnsConfig: {searches: ['a b']}}}", []string{`spec.dnsConfig.searches[0]: Invalid value: "a b"`}},
			{"{spec: {securityContext: {runAsUser: -1, fsGroup: -1, supplementalGroups: [-1]}}}", []string{
				"spec.securityContext.runAsUser: Invalid value: -1", "spec.securityContext.fsGroup: Invalid value: -1", "spec.securityContext.supplementalGroups[0]: Invalid value: -1"}},
			{"{spec: {securityContext: {fsGroupChangePolicy: Never, supplementalGroupsPolicy: Some}}}", []string{
				`spec.securityContext.fsGroupChangePolicy: Unsupported value: "Never": supported values: "Always", "OnRootMismatch"`, `spec.securityContext.supplementalGroupsPolicy: Unsupported value: "Some": supported values: "Merge", "Strict"`}},
			{"{spec: {securityContext: {sysctls: [{name: net.core/somaxconn, value: '1'}, {name: '', value: ''}, {name: A, value: ''}, {name: net.core/somaxconn, value: ''}]}}}", []string{
				"spec.securityContext.sysctls[1].name: Required value", `spec.securityContext.sysctls[2].name: Invalid value: "A"`, `spec.securityContext.sysctls[3].name: Duplicate value: "net.core/somaxconn"`}},
			{"{spec: {securityContext: {seccompProfile: {type: Localhost}}}}", []string{"spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost"}},
			{"{spec: {securityContext: {seccompProfile: {type: RuntimeDefault, localhostProfile: a}}}}", []string{`spec.securityContext.seccompProfile.localhostProfile: Invalid value: "a": can only be set when seccomp type is Localhost`}},
			{"{spec: {securityContext: {seccompProfile: {type: Localhost, localhostProfile: ../a}}}}", []string{`spec.securityContext.seccompProfile.localhostProfile: Invalid value: "../a": must not contain '..'`}},
			{"{spec: {securityContext: {seccompProfile: {type: Odd}}}}", []string{`spec.securityContext.seccompProfile.type: Unsupported value: "Odd"`}},
			{"{spec: {securityContext: {appArmorProfile: {type: ''}}}}", []string{"spec.securityContext.appArmorProfile.type: Required value: type is required when appArmorProfile is set"}},
			{"{spec: {securityContext: {appArmorProfile: {type: Localhost, localhostProfile: ' a'}}}}", []string{`spec.securityContext.appArmorProfile.localhostProfile: Invalid value: " a": must not be padded with whitespace`}},
			{"{spec: {securityContext: {appArmorProfile: {type: Localhost}}}}", []string{"spec.securityContext.appArmorProfile.localhostProfile: Required value: must be set when AppArmor type is Localhost"}},
			{"{spec: {shareProcessNamespace: true, hostPID: true}}", []string{"spec.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled"}},
			{"{spec: {hostUsers: false, hostPID: true}}", []string{"spec.HostPID: Forbidden: when `hostUsers` is false"}},
			{"{spec: {os: {name: ''}}}", []string{"spec.os.name: Required value"}},
			{"{spec: {os: {name: plan9}}}", []string{`spec.os: Unsupported value: "plan9": supported values: "linux", "windows"`}},
			{"{spec: {os: {name: windows}, hostIPC: true, securityContext: {runAsUser: 1}}}", []string{"spec.hostIPC: Forbidden: cannot be set for a windows pod", "spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod"}},
			{"{spec: {os: {name: linux}, securityContext: {windowsOptions: {}}}}", []string{"spec.securityContext.windowsOptions: Forbidden: cannot be set for a linux pod"}},
			{"{spec: {resourceClaims: [{name: gpu}, {name: gpu, resourceClaimName: a, resourceClaimTemplateName: b}]}}", []string{
				"spec.resourceClaims[0]: Invalid value", `spec.resourceClaims[1].name: Duplicate value: "gpu"`, "spec.resourceClaims[1]: Invalid value"}},
			{container("resources: {claims: [{name: gpu}]}"), []string{`spec.containers[0].resources.claims[0]: Not found: "gpu"`}},
			{"{spec: {resourceClaims: [{name: gpu, resourceClaimName: A_}]}}", []string{`spec.resourceClaims[0].resourceClaimName: Invalid value: "A_"`}},
			{container("securityContext: {privileged: true, allowPrivilegeEscalation: false}"), []string{"spec.containers[0].securityContext: Invalid value"}},
			{container("securityContext: {capabilities: {add: [CAP_SYS_ADMIN]}, allowPrivilegeEscalation: false}"), []string{"spec.containers[0].securityContext: Invalid value"}},
			{container("securityContext: {procMount: Unmasked}"), []string{"spec.containers[0].securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`"}},
			{container("securityContext: {procMount: Odd}"), []string{`spec.containers[0].securityContext.procMount: Unsupported value: "Odd": supported values: "Default", "Unmasked"`}},
			{container("resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}, {resourceName: cpu, restartPolicy: Odd}]"), []string{
				`spec.containers[0].resizePolicy[1]: Duplicate value: "cpu"`, `spec.containers[0].resizePolicy: Unsupported value: "Odd": supported values: "NotRequired", "RestartContainer"`}},
			{"{spec: {restartPolicy: Never, containers: [{name: web, image: web, resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}]}]}}", []string{
				"spec.containers[0].resizePolicy: Invalid value: \"RestartContainer\": must be 'NotRequired' when pod `restartPolicy` is 'Never'"}},
			{container("lifecycle: {preStop: {sleep: {seconds: 31}}}"), []string{"spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)"}},
			{"{spec: {volumes: [{name: v}, {name: d, persistentVolumeClaim: {claimName: c}}], containers: [{name: web, image: web, volumeMounts: [{name: v, mountPath: /dev/x}], volumeDevices: [{name: v, devicePath: /dev/y}, {name: d, devicePath: /dev/x}, {name: none, devicePath: ''}]}]}}", []string{
				`spec.containers[0].volumeDevices[0].name: Invalid value: "v": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode`,
				`spec.containers[0].volumeDevices[0].name: Invalid value: "v": must not already exist in volumeMounts`,
				`spec.containers[0].volumeDevices[1].devicePath: Invalid value: "/dev/x": must not already exist as a path in volumeMounts`,
				`spec.containers[0].volumeDevices[2].name: Not found: "none"`, "spec.containers[0].volumeDevices[2].devicePath: Required value"}},
			{"{spec: {volumes: [{name: v, csi: {driver: ''}}]}}", []string{"spec.volumes[0].csi.driver: Required value"}},
			{"{spec: {volumes: [{name: v, ephemeral: {}}]}}", []string{"spec.volumes[0].ephemeral.volumeClaimTemplate: Required value"}},
			{"{spec: {volumes: [{name: v, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce]}}}}]}}", []string{"spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources[storage]: Required value"}},
			{"{spec: {volumes: [{name: v, image: {reference: ''}}]}}", []string{"spec.volumes[0].image.reference: Required value"}},
		},
	}}
}

{{- define "normlab.labels" -}}
app.kubernetes.io/name: normlab
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* of (list $ "part"): the labels that select the pods of a part */}}
{{- define "normlab.selector" -}}
app.kubernetes.io/name: normlab
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- /* of (list $ "name of an image") */}}
{{- define "normlab.image" -}}
{{- $images := (index . 0).Values.images -}}
{{- $digest := index $images.digests (index . 1) | default "" -}}
{{- $images.registry }}{{ index . 1 }}
{{- if $digest }}@{{ $digest }}{{ else }}:{{ $images.tag | default (index . 0).Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "normlab.pod" -}}
serviceAccountName: {{ .Release.Name }}
automountServiceAccountToken: false
{{- with .Values.images.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "normlab.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* of (list $ "key of the secret") */}}
{{- define "normlab.fromSecret" -}}
valueFrom:
  secretKeyRef:
    name: {{ required "secret.name: name the secret with the database's and the broker's URL and the token" (index . 0).Values.secret.name }}
    key: {{ index . 1 }}
{{- end }}

{{- define "normlab.env" -}}
- name: NORMLAB_DATABASE_URL
  {{- include "normlab.fromSecret" (list . .Values.secret.databaseKey) | nindent 2 }}
- name: NORMLAB_BROKER_URL
  {{- include "normlab.fromSecret" (list . .Values.secret.brokerKey) | nindent 2 }}
- {name: NORMLAB_DATA_DIR, value: /data}
- {name: NORMLAB_DATA_ROOT, value: /datasets}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "normlab.mounts" -}}
- {name: data, mountPath: /data}
- {name: datasets, mountPath: /datasets, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "normlab.volumes" -}}
- name: data
  persistentVolumeClaim: {claimName: {{ .Values.data.existingClaim | default .Release.Name }}}
- name: datasets
  {{- if .Values.data.datasetsClaim }}
  persistentVolumeClaim: {claimName: {{ .Values.data.datasetsClaim }}, readOnly: true}
  {{- else }}
  emptyDir: {}
  {{- end }}
- name: tmp
  emptyDir: {}
{{- end }}

{{- /* of (dict "root" $ "name" ... "worker" ...): the pod of a worker */}}
{{- define "normlab.workerPod" -}}
{{- $root := .root }}{{ $worker := .worker -}}
{{- $python := ternary "/opt/supervisor/bin/python" "python" (eq $worker.device "ipu") -}}
{{- include "normlab.pod" $root }}
terminationGracePeriodSeconds: {{ $worker.graceSeconds | default 90 }}
{{- with $worker.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $worker.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: worker
    image: {{ include "normlab.image" (list $root $worker.image) }}
    imagePullPolicy: {{ $root.Values.images.pullPolicy }}
    args: [workers, --device, {{ $worker.device }}]
    securityContext:
      {{- if eq $worker.device "ipu" }}
      # the driver locks memory for RDMA
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL], add: [IPC_LOCK]}
      {{- else }}
      {{- include "normlab.container" $root | nindent 6 }}
      {{- end }}
    env:
      {{- include "normlab.env" $root | nindent 6 }}
      - {name: NORMLAB_SLOTS, value: {{ $worker.slots | default 1 | quote }}}
      - name: NORMLAB_ADDRESS
        valueFrom: {fieldRef: {fieldPath: status.podIP}}
      {{- if eq $worker.device "ipu" }}
      - {name: POPTORCH_CACHE_DIR, value: /tmp/poptorch}
      {{- end }}
    volumeMounts:
      {{- include "normlab.mounts" $root | nindent 6 }}
      - {name: shm, mountPath: /dev/shm}
    # importing torch and the first heartbeat
    startupProbe:
      exec: {command: [{{ $python }}, /app/docker/worker_health.py]}
      timeoutSeconds: 20
      periodSeconds: 10
      failureThreshold: 30
    livenessProbe:
      exec: {command: [{{ $python }}, /app/docker/worker_health.py]}
      timeoutSeconds: 20
      periodSeconds: 60
      # a healthy training must survive a ten-minute outage of the database
      failureThreshold: 10
    {{- $resources := deepCopy ($worker.resources | default dict) }}
    {{- if $worker.gpus }}
    {{- $limits := set ($resources.limits | default dict) "nvidia.com/gpu" $worker.gpus }}
    {{- $resources = set $resources "limits" $limits }}
    {{- end }}
    resources: {{ toYaml $resources | nindent 6 }}
volumes:
  {{- include "normlab.volumes" $root | nindent 2 }}
  - name: shm
    emptyDir: {medium: Memory, sizeLimit: {{ $worker.shm | default "1Gi" }}}
{{- end }}

{{- define "normlab.egress" -}}
- ports: # names of hosts
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
- ports:
    {{- range .Values.network.servers.ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .Values.network.servers.to }}
  to: {{ toYaml . | nindent 4 }}
  {{- end }}
{{- with .Values.network.egress }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* of a device: how many jobs need a worker */}}
{{- define "normlab.wanted" -}}
select count(*) from job where device = '{{ . }}' and (state = 'running' or state = 'queued' and not cancel_requested and (not_before is null or not_before <= clock_timestamp()))
{{- end }}

{{- define "sealane.selector" -}}
app.kubernetes.io/name: sealane
app.kubernetes.io/component: {{ . }}
{{- end }}

{{- define "sealane.labels" -}}
app.kubernetes.io/part-of: sealane
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "sealane.image" -}}
image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end }}

{{- define "sealane.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "sealane.keepArgs" -}}
- ca
- keep
- --directory=/var/lib/sealane/ca
- --secret={{ .Release.Namespace }}/{{ .Values.ca.secretName }}
- --roots={{ .Release.Namespace }}/{{ .Values.ca.rootsConfigMap }}
- --trust-domain={{ .Values.trustDomain }}
- --max-ttl={{ .Values.ca.maxTtl }}
- --log-format={{ .Values.log.format }}
{{- end }}

{{- /* Scrape annotations for a port, and the user's own; nothing where there are none. */ -}}
{{- define "sealane.annotations" -}}
{{- $annotations := dict -}}
{{- if .scrape -}}
{{- $annotations = dict "prometheus.io/scrape" "true" "prometheus.io/port" (regexFind "[0-9]+$" .admin) "prometheus.io/path" "/metrics" -}}
{{- end -}}
{{- with merge (deepCopy .own) $annotations -}}
annotations:
{{ toYaml . | indent 2 }}
{{- end -}}
{{- end }}

{{- define "sealane.binding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .role }}Binding
metadata:
  name: {{ .name }}
  {{- if eq .role "Role" }}
  namespace: {{ .root.Release.Namespace }}
  {{- end }}
  labels:
    {{- include "sealane.selector" .component | nindent 4 }}
    {{- include "sealane.labels" .root | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: {{ .role }}, name: {{ .name }}}
subjects:
{{- range .accounts }}
- {kind: ServiceAccount, name: {{ . }}, namespace: {{ $.root.Release.Namespace }}}
{{- end }}
{{- end }}

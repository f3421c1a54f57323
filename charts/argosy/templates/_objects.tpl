{{/* argosy.labels are those of every object of the release. */}}
{{- define "argosy.labels" -}}
app.kubernetes.io/name: argosy
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* argosy.image is the name of the plugin's image. */}}
{{- define "argosy.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/*
argosy.object renders "object", which is of one of the files, as an object of release "root": with the release's labels, and
where it has a namespace, with the release's. Objects that have none are named after it, so that releases do not meet.
*/}}
{{- define "argosy.object" -}}
{{- $root := .root }}
{{- $object := .object }}
{{- $metadata := omit $object.metadata "creationTimestamp" }}
{{- $_ := set $metadata "labels" (merge ($metadata.labels | default dict) (include "argosy.labels" $root | fromYaml)) }}
{{- if hasPrefix "Cluster" $object.kind }}
{{- $_ := set $metadata "name" (printf "%s-%s" $metadata.name $root.Release.Namespace) }}
{{- else }}
{{- $_ := set $metadata "namespace" $root.Release.Namespace }}
{{- end }}
{{- $_ := set $object "metadata" $metadata }}
{{- if hasSuffix "Binding" $object.kind }}
{{- if eq $object.kind "ClusterRoleBinding" }}
{{- $_ := set $object.roleRef "name" (printf "%s-%s" $object.roleRef.name $root.Release.Namespace) }}
{{- end }}
{{- range $object.subjects }}
{{- $_ := set . "namespace" (.namespace | default $root.Release.Namespace) }}
{{- end }}
{{- end }}
---
{{ toYaml $object }}
{{ end }}

{{/* argosy.objects renders all objects of "text", which is that of a file, for release "root". */}}
{{- define "argosy.objects" -}}
{{- $root := .root }}
{{- range splitList "\n---\n" .text }}
{{- include "argosy.object" (dict "root" $root "object" (fromYaml .)) }}
{{- end }}
{{- end }}

{{/*
argosy.secrets are the names of the Secrets that the documents of a cluster name, one on each line, some of them empty. They are
the ones that the plugin reads.
*/}}
{{- define "argosy.secrets" -}}
{{- $places := list .fleet.ssh }}
{{- range .fleet.machines }}
{{- $places = append $places .ssh }}
{{- end }}
{{- range $places }}
{{ (.).secret | default "" }}
{{ (.).knownHostsSecret | default "" }}
{{- range (.).bastions }}
{{ .secret | default "" }}
{{- end }}
{{- end }}
{{ ((.fleet).cluster).kubeconfigSecret | default "" }}
{{ ((.fleet).registries).secret | default "" }}
{{ (((((.vcluster).controlPlane).backingStore).database).external).connector | default "" }}
{{- range ((((.vcluster).controlPlane).advanced).serviceAccount).imagePullSecrets }}
{{ .name }}
{{- end }}
{{- end }}

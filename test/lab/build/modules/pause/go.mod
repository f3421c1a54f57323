// The process that holds a pod's namespaces open.
module argosy.dev/argosy/test/lab/build/modules/pause

go 1.25.0

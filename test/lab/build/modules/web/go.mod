// What the tests run in pods: a server that answers with its own name, and a client.
module argosy.dev/argosy/test/lab/build/modules/web

go 1.25.0

module arcpd/interop

go 1.25.0

require github.com/agentruntimecontrolprotocol/go-sdk v1.1.0

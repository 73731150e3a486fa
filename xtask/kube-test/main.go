// A Kubernetes API server with its etcd in one process, for tests: loopback addresses only, everything below one folder. And
// the kubectl that belongs to it, which costs little more where everything it is made of is there.
//
//	kube-test-apiserver --data FOLDER --port PORT --etcd-port PORT
//	kube-test-apiserver kubectl ARGUMENTS
//
// FOLDER/kubeconfig, of an administrator, is there once the API server is ready. There are no nodes, and no controllers but for
// what has a label (controllers.go): nothing makes pods of another Deployment, nothing collects garbage. Pod security is
// enforced as the labels of a namespace say.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

// Time that etcd gets to elect itself, and the API server to be ready.
const readyWithin = 120 * time.Second

func main() {
	if len(os.Args) > 1 && os.Args[1] == "kubectl" {
		os.Args = os.Args[1:]
		// It prints its errors itself.
		if kubectl.NewDefaultKubectlCommand().Execute() != nil {
			os.Exit(1)
		}
		return
	}
	data := flag.String("data", "", "folder of everything")
	port := flag.Int("port", 0, "port of the API server")
	etcdPort := flag.Int("etcd-port", 0, "port of etcd")
	flag.Parse()
	if *data == "" || *port == 0 || *etcdPort == 0 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*data, *port, *etcdPort); err != nil {
		log.Fatal(err)
	}
}

func run(data string, port, etcdPort int) error {
	etcd, err := startEtcd(filepath.Join(data, "etcd"), etcdPort)
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	defer etcd.Close()
	server := fmt.Sprintf("https://127.0.0.1:%d", port)
	identity, err := newIdentity(data)
	if err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	go func() {
		if err := waitReady(server, identity); err != nil {
			log.Fatal(err)
		}
		kubeconfig, err := identity.writeKubeconfig(server)
		if err != nil {
			log.Fatal(err)
		}
		// The API server waits for its clients before it ends, so they leave by themselves.
		until, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		if err := startControllers(until, kubeconfig); err != nil {
			log.Fatal(err)
		}
	}()
	// Ends in order on SIGTERM.
	command := app.NewAPIServerCommand()
	command.SetArgs([]string{
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", etcdPort),
		"--tls-cert-file=" + identity.certificate,
		"--tls-private-key-file=" + identity.key,
		"--client-ca-file=" + identity.authority,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-signing-key-file=" + identity.key,
		"--service-account-key-file=" + identity.certificate,
		"--service-cluster-ip-range=10.96.0.0/16",
		"--authorization-mode=RBAC",
		// Pods of tests run nowhere, so they need no token; without controllers nobody would make their accounts.
		"--disable-admission-plugins=ServiceAccount",
		"--endpoint-reconciler-type=none",
	})
	return command.Execute()
}

func startEtcd(folder string, port int) (*embed.Etcd, error) {
	config := embed.NewConfig()
	config.Dir = folder
	config.LogLevel = "error"
	// What tests write need not outlive the machine.
	config.UnsafeNoFsync = true
	client := url.URL{Scheme: "http", Host: net.JoinHostPort("127.0.0.1", fmt.Sprint(port))}
	config.ListenClientUrls = []url.URL{client}
	config.AdvertiseClientUrls = []url.URL{client}
	// Its only peer is itself, so nobody has to reach this one.
	config.ListenPeerUrls = []url.URL{}
	config.AdvertisePeerUrls = []url.URL{{Scheme: "unix", Host: "localhost:0"}}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return nil, err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case err := <-etcd.Err():
		return nil, err
	case <-time.After(readyWithin):
		etcd.Close()
		return nil, fmt.Errorf("not ready within %s", readyWithin)
	}
}

// waitReady asks the API server until it says that it is ready.
func waitReady(server string, identity *identity) error {
	roots := x509.NewCertPool()
	roots.AddCert(identity.root.parsed)
	client := http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
	}
	for until := time.Now().Add(readyWithin); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		answer, err := client.Get(server + "/readyz")
		if err != nil {
			continue
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("the API server is not ready within %s", readyWithin)
}

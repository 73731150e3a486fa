package main

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/kubernetes/pkg/controller/deployment"
	"k8s.io/kubernetes/pkg/controller/replicaset"
)

// Objects with this label are seen to. A Deployment's template has it too, so that its ReplicaSets and pods have it.
const controlled = "kube-test/controlled=true"

// Objects that a controller works on at a time.
const workers = 2

// startControllers has Deployments replaced step by step, as kube-controller-manager does. Nobody runs the pods they make.
func startControllers(ctx context.Context, kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	only := informers.WithTweakListOptions(func(options *metav1.ListOptions) { options.LabelSelector = controlled })
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, only)
	sets, pods := factory.Apps().V1().ReplicaSets(), factory.Core().V1().Pods()
	deployments, err := deployment.NewDeploymentController(ctx, factory.Apps().V1().Deployments(), sets, pods, client)
	if err != nil {
		return fmt.Errorf("Deployments: %w", err)
	}
	replicaSets := replicaset.NewReplicaSetController(ctx, sets, pods, client, replicaset.BurstReplicas)
	factory.Start(ctx.Done())
	go deployments.Run(ctx, workers)
	go replicaSets.Run(ctx, workers)
	return nil
}

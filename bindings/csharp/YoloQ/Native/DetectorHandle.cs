// SPDX-License-Identifier: Apache-2.0
using System;
using System.Threading;
using Microsoft.Win32.SafeHandles;

namespace YoloQ.Native
{
    /// <summary>Owns a yq_detector. Every running call holds a reference, so the native detector ends with the last of
    /// Dispose and the calls that run.</summary>
    internal sealed class DetectorHandle : SafeHandleZeroOrMinusOneIsInvalid
    {
        private volatile bool _ended;

        internal DetectorHandle(IntPtr handle) : base(true)
        {
            SetHandle(handle);
        }

        /// <summary>Ends the handle on purpose: the thread that drops the last reference frees the model.</summary>
        internal void End()
        {
            _ended = true;
            Dispose();
        }

        /// <summary>The handle, for a call that begins. SafeHandle alone lets calls begin after Dispose as long as others
        /// run, so that busy threads could keep a disposed detector alive for ever.</summary>
        internal DetectorHandle Open()
        {
            if (_ended) throw new ObjectDisposedException(typeof(Detector).FullName);
            return this;
        }

        protected override bool ReleaseHandle()
        {
            IntPtr native = handle;
            if (_ended)
                NativeMethods.yq_destroy(native);
            else if (!Environment.HasShutdownStarted && !AppDomain.CurrentDomain.IsFinalizingForUnload())
                // A forgotten detector, on the finalizer thread. Freeing a model may wait for its device; other
                // finalizers must not. At the end of the process the system takes everything back.
                ThreadPool.UnsafeQueueUserWorkItem(state => NativeMethods.yq_destroy((IntPtr)state), native);
            return true;
        }
    }
}
